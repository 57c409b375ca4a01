//! What the worker counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::classify::Class;
use super::rollup::Rollups;

type Labels<const N: usize> = [(&'static str, &'static str); N];

#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    classified: Family<Labels<2>, Counter>,
    counted: Family<Labels<1>, Counter>,
    deliveries: Family<Labels<1>, Counter>,
    pub(super) repeated: Counter,
    pub(super) unreadable: Counter,
    pub(super) evaluated: Counter,
}

impl WorkerMetrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("utmost_clicks_classified", "Clicks by class and rule", self.classified.clone());
        registry.register("utmost_clicks_counted", "Clicks counted, by class", self.counted.clone());
        registry.register("utmost_deliveries", "Deliveries by result", self.deliveries.clone());
        registry.register(
            "utmost_clicks_repeated",
            "Entries whose click was counted before",
            self.repeated.clone(),
        );
        registry.register(
            "utmost_log_unreadable",
            "Entries passed over: damaged, foreign, or of an unknown link",
            self.unreadable.clone(),
        );
        registry.register(
            "utmost_conversions_evaluated",
            "Evaluations of conversions",
            self.evaluated.clone(),
        );
    }

    pub(super) fn classified(&self, class: Class, rule: &'static str, clicks: u64) {
        self.classified.get_or_create(&[("class", class.as_str()), ("rule", rule)]).inc_by(clicks);
    }

    pub(super) fn counted(&self, rollups: &Rollups<'_>) {
        for counts in rollups.by_day.values() {
            for (class, n) in [
                (Class::Human, counts.human),
                (Class::Duplicate, counts.duplicate),
                (Class::Bot, counts.bot),
                (Class::Preview, counts.preview),
                (Class::Prefetch, counts.prefetch),
            ] {
                if n > 0 {
                    self.counted.get_or_create(&[("class", class.as_str())]).inc_by(n as u64);
                }
            }
        }
    }

    pub(super) fn delivered(&self, result: &'static str) {
        self.deliveries.get_or_create(&[("result", result)]).inc();
    }
}
