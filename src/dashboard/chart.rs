//! Net revenue and clicks over time: two bar charts on one time axis, drawn as SVG on the server, once for
//! wide screens and once for narrow ones, with the figures as a table beside them.

use maud::{Markup, html};

use super::words::{count, money, short};
use crate::domain::money::Currency;

/// One bar of each chart.
pub struct Point {
    /// `12 Nov 2026`, or the span that the bar stands for.
    pub label: String,
    /// For the axis.
    pub short: String,
    pub net_minor: i64,
    pub clicks: i64,
}

struct Shape {
    class: &'static str,
    width: f64,
    /// Room for the scale.
    left: f64,
    labels: usize,
}

const WIDE: Shape = Shape { class: "wide", width: 1120.0, left: 54.0, labels: 8 };
const NARROW: Shape = Shape { class: "narrow", width: 380.0, left: 44.0, labels: 3 };

const TOP: f64 = 26.0;
const MONEY_HEIGHT: f64 = 150.0;
const CLICKS_TOP: f64 = TOP + MONEY_HEIGHT + 40.0;
const CLICKS_HEIGHT: f64 = 84.0;
const HEIGHT: f64 = CLICKS_TOP + CLICKS_HEIGHT + 24.0;

pub fn chart(points: &[Point], currency: Currency, step: &str) -> Markup {
    html! {
        figure.chart {
            (drawn(&WIDE, points, currency))
            (drawn(&NARROW, points, currency))
            details {
                summary { "The same as a table" }
                div.scroll {
                    table.plain {
                        thead { tr { th scope="col" { (step) } th.num scope="col" { "Net revenue" } th.num scope="col" { "Clicks" } } }
                        tbody {
                            @for point in points {
                                tr {
                                    th scope="row" { (point.label) }
                                    td.num { (money(point.net_minor, currency)) }
                                    td.num { (count(point.clicks)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn drawn(shape: &Shape, points: &[Point], currency: Currency) -> Markup {
    let unit = 10f64.powi(currency.exponent().cast_signed());
    let nets: Vec<f64> = points.iter().map(|point| point.net_minor as f64 / unit).collect();
    let clicks: Vec<f64> = points.iter().map(|point| point.clicks as f64).collect();
    let slot = (shape.width - shape.left) / points.len().max(1) as f64;
    let every = points.len().div_ceil(shape.labels).max(1);
    let summary = format!(
        "Net revenue and clicks over time: {} and {} in all",
        money(points.iter().map(|point| point.net_minor).sum(), currency),
        count(points.iter().map(|point| point.clicks).sum()),
    );
    html! {
        svg class=(shape.class) viewBox={ "0 0 " (shape.width) " " (HEIGHT) } role="img" aria-label=(summary) {
            (panel(shape, "Net revenue", "money", &nets, TOP, MONEY_HEIGHT, currency.code()))
            (panel(shape, "Clicks", "clicks", &clicks, CLICKS_TOP, CLICKS_HEIGHT, ""))
            @for (i, point) in points.iter().enumerate() {
                @let x = shape.left + slot * i as f64;
                // The whole column shows its figures, not only its bars.
                g.slot {
                    rect x=(tenth(x)) y=(TOP) width=(tenth(slot)) height=(CLICKS_TOP + CLICKS_HEIGHT - TOP) {}
                    title { (point.label) ": " (money(point.net_minor, currency)) " net, " (count(point.clicks)) " clicks" }
                }
                @if i % every == 0 && (points.len() - i) * 3 > every {
                    text.tick x=(tenth(x + slot / 2.0)) y=(HEIGHT - 6.0) text-anchor=(anchor(x, slot, shape)) { (point.short) }
                }
            }
        }
    }
}

/// Labels at the edges stay inside.
fn anchor(x: f64, slot: f64, shape: &Shape) -> &'static str {
    match x + slot / 2.0 {
        middle if middle < shape.left + 20.0 => "start",
        middle if middle > shape.width - 24.0 => "end",
        _ => "middle",
    }
}

fn panel(
    shape: &Shape,
    title: &str,
    class: &str,
    values: &[f64],
    top: f64,
    height: f64,
    unit: &str,
) -> Markup {
    let ticks = ticks(values, if height > 100.0 { 4 } else { 3 });
    let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
    let y = |value: f64| top + height * (high - value) / (high - low);
    let slot = (shape.width - shape.left) / values.len().max(1) as f64;
    let bar = (slot * 0.72).clamp(0.8, 34.0);
    html! {
        text.title x="0" y=(top - 12.0) { (title) @if !unit.is_empty() { " · " (unit) } }
        @for tick in &ticks {
            line.grid.zero[*tick == 0.0] x1=(shape.left) x2=(shape.width) y1=(tenth(y(*tick))) y2=(tenth(y(*tick))) {}
            text.tick x=(shape.left - 8.0) y=(tenth(y(*tick) + 4.0)) text-anchor="end" { (short(*tick)) }
        }
        g class={ "bars " (class) } {
            @for (i, value) in values.iter().enumerate().filter(|(_, value)| **value != 0.0) {
                rect.below[*value < 0.0] x=(tenth(shape.left + slot * i as f64 + (slot - bar) / 2.0)) width=(tenth(bar))
                    y=(tenth(y(value.max(0.0)))) height=(tenth((y(0.0) - y(*value)).abs().max(0.8)))
                    rx=(tenth((bar / 4.0).min(2.5))) {}
            }
        }
    }
}

/// Round numbers from at most the smallest to at least the largest value, with 0 among them.
fn ticks(values: &[f64], steps: usize) -> Vec<f64> {
    let high = values.iter().copied().fold(0.0, f64::max);
    let low = values.iter().copied().fold(0.0, f64::min);
    if high <= low {
        return vec![0.0, 1.0];
    }
    let rough = (high - low) / steps as f64;
    let size = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * size).find(|s| *s >= rough).unwrap_or(rough);
    let (first, last) = ((low / step).floor() as i64, ((high / step).ceil() as i64).max(1));
    (first..=last).map(|n| n as f64 * step).collect()
}

fn tenth(n: f64) -> f64 {
    (n * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round_and_hold_all_values() {
        let check = |values: &[f64], expected: &[f64]| assert_eq!(ticks(values, 4), expected, "{values:?}");
        check(&[0.0, 87.0], &[0.0, 25.0, 50.0, 75.0, 100.0]);
        check(&[-12.0, 30.0], &[-20.0, 0.0, 20.0, 40.0]);
        check(&[0.0], &[0.0, 1.0]);
        check(&[], &[0.0, 1.0]);
        check(&[-5.0], &[-6.0, -4.0, -2.0, 0.0, 2.0]);
    }

    #[test]
    fn a_chart_of_nothing_and_of_much_is_drawn() {
        let point = |n: i64| Point {
            label: format!("day {n}"),
            short: n.to_string(),
            net_minor: n * 100 - 500,
            clicks: n,
        };
        for count in [0, 1, 2, 400] {
            let points: Vec<Point> = (0..count).map(point).collect();
            let svg = chart(&points, "EUR".parse().unwrap(), "Day").into_string();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{count}");
            assert_eq!(svg.matches("<title>").count(), 2 * count as usize);
        }
    }
}
