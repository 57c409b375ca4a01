//! Who the demo's people are: posts, browsers, bots, and what they buy. Fixed, so that two runs tell the
//! same story; what comes out is counted and computed by utmost, not written here.

/// A post with one tracked link per network.
pub struct Post {
    pub id: &'static str,
    pub title: &'static str,
    pub kind: &'static str,
    pub campaign: &'static str,
    pub destination: &'static str,
    pub networks: &'static [&'static str],
    /// People who click, spread over the networks in turn.
    pub clicks: usize,
    /// What was booked on the post itself, as decimal EUR.
    pub cost: &'static str,
}

pub const POSTS: &[Post] = &[
    Post {
        id: "reel-studio-tour",
        title: "Studio tour reel",
        kind: "video",
        campaign: "spring-drop",
        destination: "https://shop.example/collections/ceramics?lang=en#new",
        networks: &["instagram", "tiktok"],
        clicks: 140,
        cost: "180.00",
    },
    Post {
        id: "carousel-glazes",
        title: "Ten glazes, one mug",
        kind: "carousel",
        campaign: "spring-drop",
        destination: "https://shop.example/products/mug",
        networks: &["instagram", "facebook", "pinterest"],
        clicks: 110,
        cost: "60.00",
    },
    Post {
        id: "founder-letter",
        title: "Why we fire at night",
        kind: "text",
        campaign: "always-on",
        destination: "https://shop.example/pages/story",
        networks: &["linkedin", "x"],
        clicks: 45,
        cost: "25.00",
    },
    Post {
        id: "giveaway",
        title: "Giveaway: a dinner set",
        kind: "image",
        campaign: "giveaway",
        destination: "https://shop.example/pages/giveaway",
        networks: &["facebook", "tiktok", "x"],
        clicks: 160,
        cost: "240.00",
    },
    Post {
        id: "workshop-dates",
        title: "Workshop dates",
        kind: "image",
        campaign: "workshops",
        destination: "https://workshops.example/book",
        networks: &["instagram", "threads"],
        clicks: 35,
        cost: "15.00",
    },
];

pub const BROWSERS: &[&str] = &[
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 Instagram 401.0.0.29.79",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
    "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
];

pub const BOTS: &[&str] = &[
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Twitterbot/1.0",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "WhatsApp/2.23.20.0",
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "curl/8.5.0",
];

/// Where a network's visitors say they come from.
pub fn referrer(network: &str) -> &'static str {
    match network {
        "instagram" => "https://l.instagram.com/",
        "facebook" => "https://l.facebook.com/",
        "tiktok" => "https://www.tiktok.com/",
        "linkedin" => "https://www.linkedin.com/",
        "pinterest" => "https://www.pinterest.com/",
        "threads" => "https://l.threads.net/",
        _ => "https://t.co/",
    }
}

/// Through which shop an order arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shop {
    Shopify,
    Woocommerce,
    Stripe,
}

/// An order of somebody who clicked: the n-th visitor of each named post, in this order.
pub struct Order {
    pub shop: Shop,
    pub number: u32,
    pub email: &'static str,
    /// (post, visitor): clicks that led here; the last one's token arrives with the order.
    pub clicks: &'static [(&'static str, usize)],
    /// Decimal EUR, tax of 19 % within.
    pub total: &'static str,
    pub tax: &'static str,
    pub refund: Option<&'static str>,
}

pub const ORDERS: &[Order] = &[
    order(Shop::Shopify, 1001, "ada@customer.example", &[("reel-studio-tour", 3)], "119.00", "19.00"),
    order(
        Shop::Shopify,
        1002,
        "bo@customer.example",
        &[("carousel-glazes", 1), ("reel-studio-tour", 8)],
        "238.00",
        "38.00",
    ),
    order(Shop::Shopify, 1003, "cy@customer.example", &[("carousel-glazes", 5)], "59.50", "9.50"),
    // Part of it comes back.
    Order {
        refund: Some("59.50"),
        ..order(Shop::Shopify, 1004, "di@customer.example", &[("reel-studio-tour", 21)], "178.50", "28.50")
    },
    order(
        Shop::Shopify,
        1005,
        "ed@customer.example",
        &[("giveaway", 4), ("founder-letter", 6), ("reel-studio-tour", 33)],
        "357.00",
        "57.00",
    ),
    // Ada again, by another post: a repeat buyer.
    order(Shop::Shopify, 1006, "ada@customer.example", &[("founder-letter", 2)], "238.00", "38.00"),
    order(Shop::Woocommerce, 71, "fi@customer.example", &[("carousel-glazes", 17)], "95.20", "15.20"),
    order(Shop::Woocommerce, 72, "gus@customer.example", &[("giveaway", 11)], "35.70", "5.70"),
    order(
        Shop::Woocommerce,
        73,
        "hana@customer.example",
        &[("founder-letter", 9), ("carousel-glazes", 40)],
        "142.80",
        "22.80",
    ),
    order(Shop::Stripe, 1, "ivo@customer.example", &[("workshop-dates", 2)], "89.25", "14.25"),
    order(Shop::Stripe, 2, "june@customer.example", &[("workshop-dates", 7)], "178.50", "28.50"),
    order(
        Shop::Stripe,
        3,
        "kim@customer.example",
        &[("reel-studio-tour", 50), ("workshop-dates", 12)],
        "89.25",
        "14.25",
    ),
    // Nobody can tell where this one came from.
    order(Shop::Shopify, 1007, "lea@customer.example", &[], "83.30", "13.30"),
];

const fn order(
    shop: Shop,
    number: u32,
    email: &'static str,
    clicks: &'static [(&'static str, usize)],
    total: &'static str,
    tax: &'static str,
) -> Order {
    Order { shop, number, email, clicks, total, tax, refund: None }
}
