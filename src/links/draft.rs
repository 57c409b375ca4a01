//! A link before it is written: what the caller says, checked, with the defaults filled in. Pure.

use std::collections::HashMap;

use url::Url;

use super::issue::LinkFields;
use super::{destination, domain_key, slug};
use crate::domain::flaw::{Flaw, Flaws};
use crate::domain::ids::LinkId;
use crate::domain::utm::{UTM_PARAMS, Utm, is_click_param};
use crate::ledger::links::LinkRow;
use crate::ledger::posts::PostRow;

const UTM_MAX_CHARS: usize = 255;

/// A `utm_source` that is one of these tells the network, where nothing else does.
const NETWORKS: [&str; 24] = [
    "bluesky",
    "discord",
    "facebook",
    "instagram",
    "line",
    "linkedin",
    "mastodon",
    "medium",
    "messenger",
    "pinterest",
    "quora",
    "reddit",
    "snapchat",
    "telegram",
    "threads",
    "tiktok",
    "tumblr",
    "twitter",
    "vk",
    "wechat",
    "whatsapp",
    "x",
    "xing",
    "youtube",
];

/// What drafts are judged by.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Short domains among those named, and whether the workspace may use them.
    pub domains: HashMap<String, bool>,
    pub default_domain: String,
    /// Posts among those named.
    pub posts: HashMap<String, PostRow>,
}

/// A link and what is to be changed of it.
#[derive(Debug)]
pub(super) struct Draft {
    link: LinkRow,
    fields: LinkFields,
}

impl Draft {
    /// A new link. Its slug stays empty where one is to be drawn.
    pub fn blank(workspace: &str, id: i64, now_ms: i64, fields: LinkFields) -> Self {
        let link = LinkRow {
            id,
            workspace: workspace.to_owned(),
            domain: String::new(),
            slug: String::new(),
            url: String::new(),
            utm: Utm::default(),
            post: None,
            network: None,
            campaign: None,
            tags: Vec::new(),
            title: None,
            external_id: None,
            expires_ms: None,
            expired_url: None,
            max_clicks: None,
            full_ms: None,
            forward_query: true,
            click_param: None,
            extra: serde_json::Map::new(),
            archived_ms: None,
            created_ms: now_ms,
            updated_ms: now_ms,
            version: 0,
        };
        Self { link, fields }
    }

    /// A change of a link. What the old link had by default is taken back, to be derived anew.
    pub fn of(old: &LinkRow, known: &Known, fields: LinkFields) -> Self {
        let mut link = old.clone();
        let defaults = default_tags(old);
        for param in UTM_PARAMS {
            let default = defaults.clone().field_mut(param).and_then(Option::take);
            if let Some(tag) = link.utm.field_mut(param)
                && default.is_some()
                && *tag == default
            {
                *tag = None;
            }
        }
        let post = old.post.as_ref().and_then(|post| known.posts.get(post));
        let changes = |param: &str| fields.utm.iter().any(|(changed, _)| *changed == param);
        let from_post = |value: &Option<String>, of_post: fn(&PostRow) -> &Option<String>| {
            fields.post.is_some() && post.is_some_and(|post| of_post(post) == value)
        };
        let lower = |tag: &Option<String>| tag.as_deref().map(str::to_lowercase);
        if from_post(&old.network, |post| &post.network)
            || (changes("utm_source") && old.network == lower(&old.utm.source))
        {
            link.network = None;
        }
        if from_post(&old.campaign, |post| &post.campaign)
            || (changes("utm_campaign") && old.campaign == old.utm.campaign)
        {
            link.campaign = None;
        }
        Self { link, fields }
    }

    /// The link as it is to be written, or all that is wrong with what was said of it.
    pub fn check(self, known: &Known) -> Result<LinkRow, Vec<Flaw>> {
        let Self { mut link, fields } = self;
        let mut flaws = Flaws::default();
        let is_own = |domain: &str| known.domains.contains_key(domain);

        match &fields.url {
            Some(url) => {
                let checked = destination::check(url, is_own).map(|url| url.into_owned());
                link.url = flaws.note("url", checked).unwrap_or_default();
            }
            None if link.url.is_empty() => flaws.add("url", "url is missing: where the link leads to"),
            None => {}
        }
        match &fields.domain {
            Some(domain) => {
                link.domain = domain_key(domain.trim()).into_owned();
                if known.domains.get(&link.domain) != Some(&true) {
                    let detail = format!(
                        "{domain:?} is no domain of this workspace; add it with POST /api/v1/domains first"
                    );
                    flaws.add("domain", detail);
                }
            }
            None if link.domain.is_empty() => link.domain.clone_from(&known.default_domain),
            None => {}
        }
        if let Some(slug) = fields.slug {
            flaws.note("slug", slug::check(&slug));
            link.slug = slug;
        }
        if let Some(post) = fields.post {
            link.post = post.map(|post| flaws.id("post", &post));
        }
        if let Some(network) = fields.network {
            link.network = flaws.text("network", network, 50).map(|network| network.to_lowercase());
        }
        if let Some(campaign) = fields.campaign {
            link.campaign = flaws.text("campaign", campaign, 200);
        }
        if let Some(title) = fields.title {
            link.title = flaws.text("title", title, 500);
        }
        if let Some(external_id) = fields.external_id {
            link.external_id = external_id.map(|id| flaws.id("external_id", &id));
        }
        if let Some(tags) = fields.tags {
            link.tags = flaws.tags("tags", tags);
        }
        if let Some(expires_ms) = fields.expires_ms {
            link.expires_ms = expires_ms;
        }
        if let Some(expired_url) = fields.expired_url {
            link.expired_url = expired_url.and_then(|url| {
                let checked = destination::check(&url, is_own).map(|url| url.into_owned());
                flaws.note("expired_url", checked.map_err(|error| format!("expired_{error}")))
            });
        }
        if let Some(max_clicks) = fields.max_clicks {
            if max_clicks.is_some_and(|max| max < 1) {
                flaws.add("max_clicks", "max_clicks must be at least 1; null takes the bound away");
            }
            link.max_clicks = max_clicks;
        }
        link.forward_query = fields.forward_query.unwrap_or(link.forward_query);
        if let Some(name) = fields.click_param {
            if name.as_deref().is_some_and(|name| !name.is_empty() && !is_click_param(name)) {
                let detail = "click_param must have 1 to 64 of A-Z, a-z, 0-9, - and _ and be no UTM tag; \
                              an empty text sends no click token";
                flaws.add("click_param", detail);
            }
            link.click_param = name;
        }
        match fields.archived {
            Some(true) => link.archived_ms = link.archived_ms.or(Some(crate::domain::time::now_ms())),
            Some(false) => link.archived_ms = None,
            None => {}
        }
        link.created_ms = fields.created_ms.unwrap_or(link.created_ms);
        for (name, value) in fields.extra {
            match value {
                Some(value) => link.extra.insert(name, value),
                None => link.extra.remove(&name),
            };
        }
        for (param, value) in fields.utm {
            let field = param.replacen("utm_", "utm.", 1);
            if value.as_ref().is_some_and(|value| {
                value.chars().count() > UTM_MAX_CHARS || value.chars().any(char::is_control)
            }) {
                let detail =
                    format!("{field} must have at most {UTM_MAX_CHARS} characters, none of them control");
                flaws.add(field, detail);
            }
            if let Some(tag) = link.utm.field_mut(param) {
                *tag = value;
            }
        }
        flaws.check()?;
        fill_in(&mut link, known);
        Ok(link)
    }
}

/// The domain that an http address leads to, as `domain_key` makes it.
pub(super) fn authority(url: &str) -> Option<String> {
    let url = Url::parse(url.trim()).ok()?;
    let host = url.host_str()?;
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Some(domain_key(&authority).into_owned())
}

/// The tags that the destination has by itself.
pub(super) fn own_tags(url: &str) -> Utm {
    let before = url.split_once('#').map_or(url, |(before, _)| before);
    Utm::from_query(before.split_once('?').map_or("", |(_, query)| query))
}

/// Network, campaign and tags, where the caller left them open.
fn fill_in(link: &mut LinkRow, known: &Known) {
    let own = own_tags(&link.url);
    let post = link.post.as_ref().and_then(|post| known.posts.get(post));
    if link.network.is_none() {
        let source = own.source.as_ref().or(link.utm.source.as_ref()).map(|source| source.to_lowercase());
        link.network = post
            .and_then(|post| post.network.clone())
            .or(source.filter(|source| NETWORKS.contains(&source.as_str())));
    }
    if link.campaign.is_none() {
        let tag = own.campaign.or_else(|| link.utm.campaign.clone()).filter(|tag| !tag.is_empty());
        link.campaign = post.and_then(|post| post.campaign.clone()).or(tag);
    }
    let mut defaults = default_tags(link);
    for param in UTM_PARAMS {
        let default = defaults.field_mut(param).and_then(Option::take);
        if let Some(tag) = link.utm.field_mut(param) {
            *tag = tag.take().or(default);
        }
    }
}

/// Tags that a link has unless told otherwise, but for those that its destination has by itself.
fn default_tags(link: &LinkRow) -> Utm {
    let own = own_tags(&link.url);
    let free = |own: &Option<String>, default: Option<String>| default.filter(|_| own.is_none());
    Utm {
        source: free(&own.source, link.network.clone()),
        medium: free(&own.medium, Some("social".to_owned())),
        campaign: free(&own.campaign, link.campaign.clone()),
        // It identifies the link where a shop hands on nothing but the landing's tags.
        content: free(&own.content, LinkId::from_i64(link.id).ok().map(|id| id.to_string())),
        ..Utm::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: i64 = 1;

    fn known() -> Known {
        let post = PostRow {
            id: "p1".into(),
            network: Some("instagram".into()),
            campaign: Some("summer".into()),
            ..PostRow::default()
        };
        Known {
            domains: [("go.test".to_owned(), true), ("other.test".to_owned(), false)].into(),
            default_domain: "go.test".into(),
            posts: [("p1".to_owned(), post)].into(),
        }
    }

    fn fields(url: &str) -> LinkFields {
        LinkFields { url: Some(url.to_owned()), ..LinkFields::default() }
    }

    fn make(fields: LinkFields) -> LinkRow {
        Draft::blank("w", ID, 5, fields).check(&known()).unwrap()
    }

    fn utm(link: &LinkRow) -> String {
        link.utm.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
    }

    #[test]
    fn defaults_fill_what_is_free() {
        let id = LinkId::from_i64(ID).unwrap();
        let check = |fields: LinkFields, network: Option<&str>, tags: &str| {
            let link = make(fields);
            assert_eq!(link.network.as_deref(), network);
            assert_eq!(utm(&link), tags.replace("{id}", &id.to_string()));
        };
        check(fields("https://s.test"), None, "utm_medium=social&utm_content={id}");
        check(
            LinkFields { post: Some(Some("p1".into())), ..fields("https://s.test") },
            Some("instagram"),
            "utm_source=instagram&utm_medium=social&utm_campaign=summer&utm_content={id}",
        );
        check(
            fields("https://s.test?utm_source=Facebook&utm_content=a#x?utm_medium=b"),
            Some("facebook"),
            "utm_medium=social",
        );
        check(
            LinkFields {
                utm: vec![("utm_medium", Some("email".into())), ("utm_content", Some(String::new()))],
                network: Some(Some(" X ".into())),
                ..fields("https://s.test")
            },
            Some("x"),
            "utm_source=x&utm_medium=email",
        );
    }

    #[test]
    fn a_change_derives_defaults_anew() {
        let change =
            |old: &LinkRow, fields: LinkFields| Draft::of(old, &known(), fields).check(&known()).unwrap();
        let post = LinkFields { post: Some(Some("p1".into())), ..fields("https://s.test") };
        let old = make(post);
        assert_eq!(change(&old, LinkFields::default()), old);

        let gone = change(&old, LinkFields { post: Some(None), ..LinkFields::default() });
        assert_eq!((gone.network, gone.campaign, gone.utm.source), (None, None, None));

        let moved =
            change(&old, LinkFields { network: Some(Some("tiktok".into())), ..LinkFields::default() });
        assert_eq!(moved.utm.source.as_deref(), Some("tiktok"));

        let own = change(&old, fields("https://s.test?utm_content=mine"));
        assert_eq!(own.utm.content, None);

        let tagged =
            make(LinkFields { utm: vec![("utm_campaign", Some("A".into()))], ..fields("https://s.test") });
        assert_eq!(tagged.campaign.as_deref(), Some("A"));
        let retagged = change(
            &tagged,
            LinkFields { utm: vec![("utm_campaign", Some("B".into()))], ..LinkFields::default() },
        );
        assert_eq!(retagged.campaign.as_deref(), Some("B"));
    }

    #[test]
    fn every_mistake_is_named() {
        let wrong = LinkFields {
            url: Some("https://go.test/x".into()),
            domain: Some("other.test".into()),
            slug: Some("api".into()),
            post: Some(Some(" ".into())),
            utm: vec![("utm_source", Some("x".repeat(256)))],
            tags: Some(vec!["x".repeat(101)]),
            expired_url: Some(Some("ftp://x".into())),
            max_clicks: Some(Some(0)),
            click_param: Some(Some("utm_source".into())),
            ..LinkFields::default()
        };
        let flaws = Draft::blank("w", ID, 5, wrong).check(&known()).unwrap_err();
        let fields: Vec<&str> = flaws.iter().map(|flaw| flaw.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "url",
                "domain",
                "slug",
                "post",
                "tags",
                "expired_url",
                "max_clicks",
                "click_param",
                "utm.source"
            ]
        );
        let missing = Draft::blank("w", ID, 5, LinkFields::default()).check(&known()).unwrap_err();
        assert_eq!(missing[0].field, "url");
    }
}
