//! Which channel brought a landing, by the rules of GA4's default channel group: the first that
//! matches wins (<https://support.google.com/analytics/answer/9756891>). Its lists of sites are not
//! part of the rules; ours hold the sites that matter and those that its social list lacks.

use url::Url;

/// What an order says of how its customer arrived.
#[derive(Debug, Clone, Copy, Default)]
pub struct Landing<'a> {
    /// By name without `utm_`, raw. Where empty, the landing URL's own query stands in.
    pub utm: &'a [(String, String)],
    /// Absolute or relative, with its query.
    pub landing_url: Option<&'a str>,
    pub referrer: Option<&'a str>,
    /// Hosts of the shop itself and of our short links; their subdomains count as well.
    pub own_hosts: &'a [String],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    CrossNetwork,
    PaidShopping,
    PaidSearch,
    PaidSocial,
    PaidVideo,
    Display,
    PaidOther,
    OrganicShopping,
    OrganicSocial,
    OrganicVideo,
    OrganicSearch,
    Email,
    Affiliates,
    Referral,
    Audio,
    Sms,
    MobilePush,
    /// Tagged, but by no rule known.
    Unassigned,
}

impl Channel {
    /// The name in reports, as in `other:organic_search`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CrossNetwork => "cross_network",
            Self::PaidShopping => "paid_shopping",
            Self::PaidSearch => "paid_search",
            Self::PaidSocial => "paid_social",
            Self::PaidVideo => "paid_video",
            Self::Display => "display",
            Self::PaidOther => "paid_other",
            Self::OrganicShopping => "organic_shopping",
            Self::OrganicSocial => "organic_social",
            Self::OrganicVideo => "organic_video",
            Self::OrganicSearch => "organic_search",
            Self::Email => "email",
            Self::Affiliates => "affiliates",
            Self::Referral => "referral",
            Self::Audio => "audio",
            Self::Sms => "sms",
            Self::MobilePush => "mobile_push",
            Self::Unassigned => "unassigned",
        }
    }
}

/// The channel of a landing. None is direct: no tags, no click id, and no referrer but the shop's own
/// pages, a payment provider or a sign-in page.
pub fn channel(landing: &Landing<'_>) -> Option<Channel> {
    let query = query_of(landing.landing_url);
    let tag = |name: &str| {
        let given = landing.utm.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let in_query = || query.iter().find(|(key, _)| key.strip_prefix("utm_") == Some(name));
        given
            .or_else(|| in_query().map(|(_, value)| value.clone()))
            .map(|value| value.trim().to_ascii_lowercase())
            .filter(|value| !value.is_empty() && !value.starts_with('('))
    };
    let campaign = tag("campaign").unwrap_or_default();
    if let (source, medium) = (tag("source"), tag("medium"))
        && (source.is_some() || medium.is_some())
    {
        return Some(by_tags(&source.unwrap_or_default(), &medium.unwrap_or_default(), &campaign));
    }
    let click_id = query.iter().find_map(|(name, value)| by_click_id(name).filter(|_| !value.is_empty()));
    let untagged = || (!campaign.is_empty()).then_some(Channel::Unassigned);
    click_id.or_else(|| by_referrer(landing)).or_else(untagged)
}

/// The rules for tagged traffic, in GA4's order. All values are lower case.
fn by_tags(source: &str, medium: &str, campaign: &str) -> Channel {
    let kind = site_kind(source);
    let is = |site| kind == Some(site);
    let shopping = is(Site::Shopping) || is_shopping_campaign(campaign);
    let paid = medium.contains("cp") || matches!(medium, "ppc" | "retargeting") || medium.starts_with("paid");
    let is_email = |word: &str| matches!(word, "email" | "e-mail" | "e_mail" | "e mail");
    match medium {
        _ if campaign.contains("cross-network") => Channel::CrossNetwork,
        _ if paid && shopping => Channel::PaidShopping,
        _ if paid && is(Site::Search) => Channel::PaidSearch,
        _ if paid && is(Site::Social) => Channel::PaidSocial,
        _ if paid && is(Site::Video) => Channel::PaidVideo,
        "display" | "banner" | "expandable" | "interstitial" | "cpm" => Channel::Display,
        _ if paid => Channel::PaidOther,
        _ if shopping => Channel::OrganicShopping,
        _ if is(Site::Social) => Channel::OrganicSocial,
        "social" | "social-network" | "social-media" | "sm" | "social network" | "social media" => {
            Channel::OrganicSocial
        }
        _ if is(Site::Video) || medium.contains("video") => Channel::OrganicVideo,
        "organic" => Channel::OrganicSearch,
        _ if is(Site::Search) => Channel::OrganicSearch,
        _ if is_email(source) || is_email(medium) => Channel::Email,
        "affiliate" | "affiliates" => Channel::Affiliates,
        "referral" | "app" | "link" => Channel::Referral,
        "audio" => Channel::Audio,
        _ if source == "sms" || medium == "sms" => Channel::Sms,
        _ if medium.ends_with("push") => Channel::MobilePush,
        _ if medium.contains("mobile") || medium.contains("notification") => Channel::MobilePush,
        _ => Channel::Unassigned,
    }
}

/// Click ids that advertising networks append. `fbclid` comes with unpaid links as well.
fn by_click_id(name: &str) -> Option<Channel> {
    match name {
        "gclid" | "gbraid" | "wbraid" | "gad_source" | "msclkid" | "yclid" => Some(Channel::PaidSearch),
        "dclid" => Some(Channel::Display),
        "ttclid" | "twclid" | "li_fat_id" | "epik" | "ScCid" | "rdt_cid" => Some(Channel::PaidSocial),
        "fbclid" | "igshid" => Some(Channel::OrganicSocial),
        "srsltid" => Some(Channel::OrganicShopping),
        _ => None,
    }
}

fn by_referrer(landing: &Landing<'_>) -> Option<Channel> {
    let referrer = landing.referrer?.trim();
    let referrer = Url::parse(referrer).or_else(|_| Url::parse(&format!("https://{referrer}"))).ok()?;
    let host = referrer.host_str()?.to_ascii_lowercase();
    let landed_on = landing.landing_url.and_then(|url| Url::parse(url.trim()).ok());
    let own = landing.own_hosts.iter().map(String::as_str);
    let is_own = own
        .chain(landed_on.as_ref().and_then(Url::host_str))
        .any(|own| is_at(&host, own.trim_start_matches("www.")));
    if is_own || !host.contains('.') || NO_TOUCH.split_whitespace().any(|site| is_at(&host, site)) {
        return None;
    }
    Some(match site_kind(&host) {
        Some(Site::Social) => Channel::OrganicSocial,
        Some(Site::Video) => Channel::OrganicVideo,
        Some(Site::Shopping) => Channel::OrganicShopping,
        Some(Site::Mail) => Channel::Email,
        Some(Site::Search) => Channel::OrganicSearch,
        None => Channel::Referral,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    Search,
    Social,
    Video,
    Shopping,
    Mail,
}

/// What kind of site a lower-case host or source name (`facebook`, `m.facebook.com`) is.
fn site_kind(source: &str) -> Option<Site> {
    let kinds = [
        (Site::Mail, MAIL),
        (Site::Shopping, SHOPPING),
        (Site::Video, VIDEO),
        (Site::Social, SOCIAL),
        (Site::Search, SEARCH),
    ];
    let lists = |sites: &str| sites.split_whitespace().any(|site| names(source, site));
    kinds.into_iter().find(|(_, sites)| lists(sites)).map(|(kind, _)| kind)
}

/// Whether a source is a site: its host or one below it, its bare name where that is a name of its
/// own, and for a site written `name.*` the name under any top-level domain.
fn names(source: &str, site: &str) -> bool {
    match site.strip_suffix(".*") {
        Some(name) => source.split('.').any(|label| label == name),
        None => {
            let bare = site.split_once('.').is_some_and(|(name, rest)| !rest.contains('.') && source == name);
            bare || is_at(source, site)
        }
    }
}

/// Whether a host is `site` or a subdomain of it.
fn is_at(host: &str, site: &str) -> bool {
    host.strip_suffix(site).is_some_and(|below| below.is_empty() || below.ends_with('.'))
}

/// GA4's `^(.*(([^a-df-z]|^)shop|shopping).*)$`: "shop" at the start of a word, or "shopping".
fn is_shopping_campaign(campaign: &str) -> bool {
    campaign.contains("shopping")
        || campaign
            .match_indices("shop")
            .any(|(at, _)| !matches!(campaign[..at].bytes().next_back(), Some(b'a'..=b'd' | b'f'..=b'z')))
}

/// Names and values of a URL's query, which may be relative or junk.
fn query_of(url: Option<&str>) -> Vec<(String, String)> {
    let query = url.and_then(|url| url.split_once('?')).map_or("", |(_, rest)| rest);
    let query = query.split('#').next().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

const SEARCH: &str = "google.* bing.com yahoo.* duckduckgo.com yandex.* baidu.com ecosia.org search.brave.com qwant.com \
    startpage.com naver.com daum.net seznam.cz sogou.com so.com ask.com search.aol.com dogpile.com \
    coccoc.com kagi.com mojeek.com swisscows.com presearch.com presearch.org search.lycos.com \
    suche.t-online.de com.google.android.googlequicksearchbox";

const SOCIAL: &str = "facebook.com fb.com fb.me messenger.com instagram.com ig threads.net threads.com twitter.com t.co \
    x.com x linkedin.com lnkd.in com.linkedin.android pinterest.* pin.it tiktok.com snapchat.com \
    reddit.com com.reddit.frontpage out.reddit.com tumblr.com quora.com bluesky bsky.app mastodon \
    mastodon.social mastodon.online mstdn.social discord.com discord.gg telegram.org telegram.me t.me \
    org.telegram.messenger whatsapp.com wa.me wechat.com weixin.qq.com weibo.com weibo.cn qzone.qq.com \
    xiaohongshu.com douban.com vk.com vkontakte.ru ok.ru odnoklassniki.ru xing.com viadeo.com line.me \
    kakao.com meetup.com nextdoor.com flickr.com medium.com livejournal.com blogspot.com blogger.com \
    wordpress.com substack.com goodreads.com deviantart.com myspace.com stackoverflow.com \
    stackexchange.com news.ycombinator.com hackernews producthunt.com disqus.com digg.com slashdot.org \
    tripadvisor.com yelp.com hootsuite.com buffer.com linktr.ee clubhouse.com mixi.jp ameblo.jp note.com \
    hatena.ne.jp";

const VIDEO: &str = "youtube.com youtu.be vimeo.com dailymotion.com twitch.tv bilibili.com youku.com iqiyi.com rumble.com \
    wistia.com ted.com netflix.com hulu.com niconico.jp nicovideo.jp";

const SHOPPING: &str = "amazon.* ebay.* etsy.com walmart.com target.com aliexpress.* alibaba.com mercadolibre.* \
    mercadolivre.* shopping.google.com shopzilla.com idealo.* kelkoo.* pricerunner.* rakuten.* shopee.* \
    lazada.* flipkart.com allegro.pl zalando.* temu.com shein.com";

const MAIL: &str = "mail.google.com com.google.android.gm mail.yahoo.com outlook.live.com outlook.office.com \
    outlook.office365.com mail.aol.com mail.ru mail.proton.me mail.zoho.com mail.yandex.ru \
    mail.yandex.com webmail.gmx.net navigator.gmx.net navigator.web.de";

/// Payment providers and sign-in pages send the customer back in the middle of an order.
const NO_TOUCH: &str = "paypal.com paypal.me stripe.com stripe.network link.com klarna.com afterpay.com clearpay.co.uk \
    affirm.com sezzle.com zip.co adyen.com mollie.com worldpay.com sagepay.com opayo.co.uk \
    braintreegateway.com braintree-api.com authorize.net 2checkout.com squareup.com square.link \
    checkout.com paddle.com lemonsqueezy.com razorpay.com payu.in payu.com payumoney.com paytm.com \
    paytm.in phonepe.com mercadopago.com mercadopago.com.ar mercadopago.com.br mercadopago.com.mx \
    pagseguro.uol.com.br przelewy24.pl dotpay.pl tpay.com sofort.com giropay.de paydirekt.de trustly.com \
    ideal.nl multisafepay.com buckaroo.nl bluesnap.com cardinalcommerce.com arcot.com 3dsecure.io \
    securesuite.co.uk twint.ch datatrans.com payone.com alipay.com shop.app shopify.com myshopify.com \
    pay.google.com pay.amazon.com payments.amazon.com accounts.google.com appleid.apple.com \
    login.live.com login.microsoftonline.com";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(utm: &[(&str, &str)], url: &str, referrer: &str, expected: Option<&str>) {
        let utm: Vec<(String, String)> = utm.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let own_hosts = ["shop.example.com".to_string(), "go.example.net".to_string()];
        let landing = Landing {
            utm: &utm,
            landing_url: (!url.is_empty()).then_some(url),
            referrer: (!referrer.is_empty()).then_some(referrer),
            own_hosts: &own_hosts,
        };
        assert_eq!(channel(&landing).map(Channel::as_str), expected, "{utm:?} {url} {referrer}");
    }

    #[test]
    fn tags_decide_first() {
        let tags = |source, medium, expected| {
            check(&[("source", source), ("medium", medium)], "/", "https://www.google.com/", Some(expected));
        };
        tags("google", "cpc", "paid_search");
        tags("Bing", "PPC", "paid_search");
        tags("facebook", "cpc", "paid_social");
        tags("facebook.com", "paid_social", "paid_social");
        tags("instagram", "retargeting", "paid_social");
        tags("youtube", "cpv", "paid_video");
        tags("youtube", "link", "organic_video");
        tags("adnetwork", "cpm", "display");
        tags("adnetwork", "cpa", "paid_other");
        tags("adnetwork", "display", "display");
        tags("amazon", "cpc", "paid_shopping");
        tags("facebook", "story", "organic_social");
        tags("threads", "social", "organic_social");
        tags("newnetwork", "social", "organic_social");
        tags("x", "post", "organic_social");
        tags("bluesky", "", "organic_social");
        tags("google", "organic", "organic_search");
        tags("duckduckgo", "", "organic_search");
        tags("newsletter", "email", "email");
        tags("e-mail", "", "email");
        tags("partner7", "affiliate", "affiliates");
        tags("partner7", "referral", "referral");
        tags("spotify", "audio", "audio");
        tags("shop", "sms", "sms");
        tags("app", "push", "mobile_push");
        tags("unknown", "unknown", "unassigned");
        check(
            &[("source", "a"), ("medium", "b"), ("campaign", "Cross-Network")],
            "",
            "",
            Some("cross_network"),
        );
        check(&[("source", "a"), ("medium", "cpc"), ("campaign", "shop-now")], "", "", Some("paid_shopping"));
        check(&[("source", "a"), ("medium", "cpc"), ("campaign", "workshop")], "", "", Some("paid_other"));
        check(&[("source", "(direct)"), ("medium", "(none)")], "/", "", None);
        check(&[], "/?utm_source=facebook&utm_medium=paid", "", Some("paid_social"));
        check(&[("campaign", "spring")], "/", "", Some("unassigned"));
    }

    #[test]
    fn click_ids_stand_in_for_tags() {
        check(&[], "/p?gclid=Cj0KCQ", "https://www.google.com/", Some("paid_search"));
        check(&[], "https://shop.example.com/?a=1&wbraid=x#top", "", Some("paid_search"));
        check(&[], "/?msclkid=1", "", Some("paid_search"));
        check(&[], "/?dclid=1", "", Some("display"));
        check(&[], "/?ttclid=1", "", Some("paid_social"));
        check(&[], "/?fbclid=1", "", Some("organic_social"));
        check(&[], "/?gclid=", "", None);
        check(&[("source", "facebook"), ("medium", "social")], "/?fbclid=1", "", Some("organic_social"));
    }

    #[test]
    fn referrers_decide_last() {
        check(&[], "/", "https://www.google.co.uk/", Some("organic_search"));
        check(&[], "/", "android-app://com.google.android.googlequicksearchbox/", Some("organic_search"));
        check(&[], "/", "https://l.facebook.com/l.php", Some("organic_social"));
        check(&[], "/", "https://t.co/abc", Some("organic_social"));
        check(&[], "/", "https://m.youtube.com/watch", Some("organic_video"));
        check(&[], "/", "https://mail.google.com/", Some("email"));
        check(&[], "/", "blog.example.org/a", Some("referral"));
        check(&[], "/", "https://notfacebook.com/", Some("referral"));
        check(&[], "/", "https://best.com/", Some("referral"));
    }

    #[test]
    fn own_pages_and_payment_providers_are_no_touch() {
        check(&[], "", "", None);
        check(&[], "/products/hat?variant=12", "", None);
        check(&[], "/", "https://shop.example.com/cart", None);
        check(&[], "/", "https://checkout.shop.example.com/", None);
        check(&[], "/", "https://go.example.net/abc", None);
        check(&[], "https://www.hats.example/?a=b", "https://hats.example/", None);
        check(&[], "/", "https://www.paypal.com/checkoutnow", None);
        check(&[], "/", "https://checkout.stripe.com/c/pay", None);
        check(&[], "/", "https://pay.google.com/", None);
        check(&[], "/", "https://accounts.google.com/", None);
        check(&[], "/", "http://[junk", None);
        check(&[], "/", "localhost", None);
        check(&[], "http://%zz?&&=%FF", "::::", None);
    }
}
