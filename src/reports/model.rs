//! The models of a report: those whose credits the ledger holds, and those of a whole period.

use crate::attribution::models::Model;
use crate::attribution::paths::Transform;

/// What a report asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportModel {
    One(OneModel),
    /// Every model side by side, with last touch as the one to compare with.
    All {
        order: usize,
        transform: Transform,
        /// Whether the models of the period are among them, where they have an answer.
        of_period: bool,
    },
}

/// A single model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OneModel {
    /// Its credits are stored with each conversion.
    Touches(Model),
    /// Computed over the paths of the period.
    Markov {
        order: usize,
        transform: Transform,
    },
    Shapley {
        transform: Transform,
    },
}

pub const NAMES: [&str; 8] =
    ["first_touch", "last_touch", "linear", "time_decay", "position_based", "markov", "shapley", "all"];

impl ReportModel {
    /// `order` and `transform` matter to markov and shapley only.
    pub fn new(name: &str, order: usize, transform: Transform) -> Option<Self> {
        Some(match name {
            "all" => Self::All { order, transform, of_period: true },
            "markov" => Self::One(OneModel::Markov { order, transform }),
            "shapley" => Self::One(OneModel::Shapley { transform }),
            name => Self::One(OneModel::Touches(name.parse().ok()?)),
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::All { .. } => "all",
            Self::One(model) => model.name(),
        }
    }

    /// The model of the report's main columns.
    pub fn main(self) -> OneModel {
        match self {
            Self::All { .. } => OneModel::Touches(Model::LastTouch),
            Self::One(model) => model,
        }
    }

    /// The order of markov and what is done with repeated keys, where a model of the period is asked for.
    pub fn of_period(self) -> Option<(usize, Transform)> {
        match self {
            Self::All { order, transform, of_period: true }
            | Self::One(OneModel::Markov { order, transform }) => Some((order, transform)),
            Self::One(OneModel::Shapley { transform }) => Some((1, transform)),
            Self::One(OneModel::Touches(_)) | Self::All { .. } => None,
        }
    }
}

impl OneModel {
    pub fn name(self) -> &'static str {
        match self {
            Self::Touches(model) => model.as_str(),
            Self::Markov { .. } => "markov",
            Self::Shapley { .. } => "shapley",
        }
    }

    pub fn is_of_period(self) -> bool {
        !matches!(self, Self::Touches(_))
    }
}
