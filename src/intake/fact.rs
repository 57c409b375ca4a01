//! What a delivery says, in utmost's own words: the output of every platform's `interpret`.
//!
//! A fact is one statement about one order. An order's state is a pure fold over its facts sorted
//! by (version_ms, hash), so facts may arrive in any order and more than once.

use serde::{Deserialize, Serialize};

/// One statement about an order of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The platform's id of the order, as text (64-bit ids never become floats). Unique per source.
    pub order_id: String,
    /// The platform's own time of this statement (its updated_at), milliseconds since 1970.
    pub version_ms: i64,
    pub says: Says,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    /// The order as a whole. The newest one stands; `keys` add up over all of them.
    Order(Order),
    /// One refund, counted once by its id, whatever order facts say.
    Refund(Refund),
    /// All refunds of the order, complete: what an earlier list held and this one does not was
    /// taken back (WooCommerce, Stripe's cumulative `amount_refunded` as one refund).
    Refunds(Vec<Refund>),
    /// More keys of the order, without its money: a payment that belongs to an invoice, an e-mail.
    Keys(Keys),
    /// Money of the order came back by its payment's cumulative total (Stripe `charge.refunded`).
    /// Stands only for what single refunds do not explain, so nothing counts twice.
    RefundedTotal { amount_minor: i64, currency: String, occurred_ms: i64 },
    /// The order was deleted or cancelled by a message that holds nothing else.
    Gone(Gone),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gone {
    Cancelled,
    Deleted,
}

/// Whether an order's money counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Sold: its money counts.
    Paid,
    /// Not paid yet: excluded as `unpaid` until it is.
    Unpaid,
    /// Cancelled: net is 0, the gross and its reversal stay visible.
    Cancelled,
    /// A test order: excluded as `test`.
    Test,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// `purchase`, `lead`, `sign_up` or the shop's own word.
    pub event: String,
    pub status: OrderStatus,
    /// When the customer ordered, by the platform's clock, milliseconds since 1970.
    pub occurred_ms: i64,
    /// ISO 4217, upper case. Empty with amount 0 where the event has no money (leads).
    pub currency: String,
    /// Gross, in minor units of `currency`, tax and shipping included.
    pub total_minor: i64,
    /// None where the platform does not say.
    pub tax_minor: Option<i64>,
    pub shipping_minor: Option<i64>,
    /// Cost of goods, where the shop says so.
    pub cost_of_goods_minor: Option<i64>,
    /// The subscription this order renews: the platform's subscription id.
    pub renews: Option<String>,
    pub keys: Keys,
}

/// Everything by which an order may be matched to clicks, customers and other deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keys {
    /// Click tokens as found, not verified here.
    pub tokens: Vec<String>,
    /// The platform's customer id; means something only within its source.
    pub customer_id: Option<String>,
    /// As sent; hashed before anything is stored.
    pub email: Option<String>,
    pub coupons: Vec<String>,
    /// UTM values of the landing by name without `utm_` (source, medium, campaign, ...), raw.
    pub utm: Vec<(String, String)>,
    /// The landing URL, absolute or relative, as sent.
    pub landing_url: Option<String>,
    pub referrer: Option<String>,
    /// Other names of the same sale: order number, checkout token, payment intent, charge, invoice,
    /// session, subscription. Within a source they lead refunds to their order; across sources they
    /// join evidence with the record.
    pub references: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// The platform's refund id.
    pub id: String,
    /// In minor units of `currency`, not negative; 0 takes the refund back.
    pub amount_minor: i64,
    /// Empty where the delivery does not say: the order's own.
    pub currency: String,
    /// How much of the payment's cumulative refunded total this refund stands for, where that is not
    /// its amount: a charge-back is no part of the total, a failed refund still was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explains_minor: Option<i64>,
    /// None where the platform gives no date (WooCommerce): the first version that shows it dates it.
    pub occurred_ms: Option<i64>,
}
