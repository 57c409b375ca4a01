//! The reference's journeys: from everything that is known of an order to its touches.

use std::collections::{BTreeMap, BTreeSet};

use crate::money::local_day;
use crate::outcome::Touch;
use crate::rules::link_text;
use crate::world::{Class, DAY_MS, Keys, Token, World};

/// Touches are kept this long before T, also those outside the lookback.
const KEPT_MS: i64 = 400 * DAY_MS;

pub struct Evidence<'a> {
    pub world: &'a World,
    pub space: usize,
    pub event: &'a str,
    pub t_ms: i64,
    pub cut_ms: Option<i64>,
    pub keys: &'a Keys,
    pub named: &'a BTreeSet<usize>,
    pub visitors: &'a BTreeSet<[u8; 12]>,
    pub coupon_links: &'a BTreeSet<usize>,
}

#[derive(Default)]
pub struct Found {
    pub status: &'static str,
    pub reason: Option<&'static str>,
    pub method: Option<&'static str>,
    pub runners_up: Vec<&'static str>,
    pub touches: Vec<Touch>,
    pub others: BTreeSet<(String, i64)>,
}

/// Best first.
const METHODS: [&str; 4] = ["click_token", "customer", "coupon", "utm"];

struct Candidate {
    /// Index in [`METHODS`].
    method: usize,
    link: usize,
    click: Option<usize>,
    /// Its record was seen in the journey.
    is_seen: bool,
}

pub fn find(evidence: &Evidence<'_>) -> Found {
    let Evidence { world, t_ms, .. } = *evidence;
    let space = &world.spaces[evidence.space];
    let rules = &space.rules;
    let candidates = candidates(evidence);
    let lookback_days = match rules.lead_lookback_days {
        Some(days) if evidence.event == "lead" => days,
        _ => rules.lookback_days,
    };
    let after_cut_ms = evidence.cut_ms.map_or(i64::MIN, |cut_ms| cut_ms + 1);
    let from_ms = (t_ms - lookback_days * DAY_MS).max(after_cut_ms);
    let at_ms = |candidate: &Candidate| candidate.click.map_or(t_ms, |click| world.clicks[click].at_ms);
    let is_within = |candidate: &&Candidate| candidate.click.is_none() || at_ms(candidate) >= from_ms;

    let method = candidates.iter().filter(is_within).map(|candidate| candidate.method).min();
    let counts = |candidate: &&Candidate| match method {
        Some(0 | 1) => candidate.method < 2,
        only => Some(candidate.method) == only,
    };
    let mut counted: Vec<&Candidate> = candidates.iter().filter(is_within).filter(counts).collect();
    counted.sort_by_key(|candidate| {
        (
            at_ms(candidate),
            candidate.click.map(|click| world.clicks[click].id),
            world.links[candidate.link].id,
        )
    });
    // Of one visitor's clicks on one link in one span of the clock, the first.
    let span_ms = if rules.duplicates_count { 1 } else { world.duplicate_seconds * 1000 };
    let mut spans = BTreeSet::new();
    counted.retain(|candidate| match candidate.click.map(|click| &world.clicks[click]) {
        Some(click) if click.visitor.is_some() => {
            spans.insert((click.visitor, click.link, click.at_ms.div_euclid(span_ms)))
        }
        _ => true,
    });

    let mut touches: Vec<Touch> = counted
        .iter()
        .map(|candidate| {
            let link = &world.links[candidate.link];
            let at_ms = at_ms(candidate);
            let held = link.revisions.iter().filter(|revision| revision.from_ms <= at_ms).count().max(1);
            let click = candidate.click.map(|click| &world.clicks[click]);
            Touch {
                at_ms,
                via: METHODS[candidate.method].to_owned(),
                link: Some(link.id),
                revision: Some(held as i64),
                click: click.map(|click| hex::encode(click.id)),
                channel: None,
                device: click.filter(|_| candidate.is_seen).map(|click| click.device().to_owned()),
                click_day: local_day(at_ms, space.zone),
            }
        })
        .collect();
    let is_ours = !touches.is_empty();
    let rival = rival(evidence).filter(|_| rules.rivals_count);
    touches.extend(rival.map(|channel| Touch {
        at_ms: t_ms,
        via: "landing".to_owned(),
        link: None,
        revision: None,
        click: None,
        channel: Some(channel.to_owned()),
        device: None,
        click_day: local_day(t_ms, space.zone),
    }));
    let is_forged = |token: &Token| !matches!(token, Token::Of(click) if evidence.named.contains(click));
    let reason = match (is_ours, rival, candidates.is_empty()) {
        (true, ..) => None,
        (false, Some(_), _) => Some("other_channel"),
        (false, None, false) => Some("outside_window"),
        _ if evidence.named.is_empty() && evidence.keys.tokens.iter().any(is_forged) => Some("invalid_token"),
        _ => Some("no_match"),
    };
    let spoke: BTreeSet<usize> = candidates.iter().map(|candidate| candidate.method).collect();
    let is_counted = |candidate: &Candidate| {
        counted.iter().any(|touch| (touch.click, touch.link) == (candidate.click, candidate.link))
    };
    let others = candidates.iter().filter(|candidate| !is_counted(candidate));
    Found {
        status: if is_ours { "attributed" } else { "unattributed" },
        reason,
        method: method.map(|method| METHODS[method]),
        runners_up: spoke.into_iter().filter(|m| Some(*m) != method).map(|m| METHODS[m]).collect(),
        others: others
            .filter_map(|other| {
                Some((hex::encode(world.clicks[other.click?].id), world.links[other.link].id))
            })
            .collect(),
        touches,
    }
}

/// Each click once, by the best method that finds it.
fn candidates(evidence: &Evidence<'_>) -> Vec<Candidate> {
    let Evidence { world, t_ms, .. } = *evidence;
    let mut candidates = Vec::new();
    for (n, click) in world.clicks.iter().enumerate() {
        let is_theirs = click.visitor.is_some_and(|visitor| evidence.visitors.contains(&visitor));
        let is_kept = (t_ms - KEPT_MS..=t_ms).contains(&click.at_ms);
        let is_here = world.links[click.link].space == evidence.space;
        let is_seen = is_here && is_theirs && is_kept && click.is_recorded && click.class() == Class::Human;
        let method = if evidence.named.contains(&n) { 0 } else { 1 };
        if is_seen || method == 0 {
            candidates.push(Candidate { method, link: click.link, click: Some(n), is_seen });
        }
    }
    let inferred = |method, link| Candidate { method, link, click: None, is_seen: false };
    candidates.extend(evidence.coupon_links.iter().map(|link| inferred(2, *link)));
    candidates.extend(utm_link(evidence).map(|link| inferred(3, link)));
    candidates
}

/// The one link that the tags identify.
fn utm_link(evidence: &Evidence<'_>) -> Option<usize> {
    let world = evidence.world;
    let tag = |name: &str| evidence.keys.utm.get(name).map(|value| value.trim().to_lowercase());
    let of_space = |link: &usize| world.links[*link].space == evidence.space;
    let links: Vec<usize> = (0..world.links.len()).filter(of_space).collect();
    let stamped = |link: &&usize| tag("content").is_some_and(|content| content == link_text(world, **link));
    if let Some(link) = links.iter().find(stamped) {
        return Some(*link);
    }
    if tag("source").is_none() || tag("campaign").is_none() {
        return None;
    }
    let given: BTreeMap<&str, String> = ["source", "campaign", "medium", "content", "term"]
        .into_iter()
        .filter_map(|name| Some((name, tag(name)?)))
        .collect();
    // Since when each link has had these tags; one that came after the order takes nothing from it.
    let since_ms = |link: usize| {
        let fits =
            |tags: &BTreeMap<&str, String>| given.iter().all(|(name, value)| tags.get(name) == Some(value));
        let revisions = world.links[link].revisions.iter();
        revisions.filter(|held| fits(&held.tags)).map(|held| held.from_ms).min()
    };
    let fitting: Vec<(usize, i64)> =
        links.into_iter().filter_map(|link| Some((link, since_ms(link)?))).collect();
    let then: Vec<_> = fitting.iter().filter(|(_, since_ms)| *since_ms <= evidence.t_ms).collect();
    match (then.as_slice(), fitting.as_slice()) {
        ([(link, _)], _) | ([], [(link, _)]) => Some(*link),
        _ => None,
    }
}

/// The channel of a landing that is not ours, for the words that these worlds use.
fn rival(evidence: &Evidence<'_>) -> Option<&'static str> {
    let keys = evidence.keys;
    let landing = keys.landing.as_ref();
    if utm_link(evidence).is_some() || landing.is_some_and(|landing| landing.token.is_some()) {
        return None;
    }
    let tag = |name: &str| {
        let landed = || landing.and_then(|landing| landing.tags.get(name));
        keys.utm.get(name).or_else(landed).map(|value| value.to_lowercase())
    };
    match (tag("source").as_deref(), tag("medium").as_deref()) {
        (None, None) => {}
        (Some("newsletter"), _) => return Some("email"),
        (Some("instagram"), _) => return Some("organic_social"),
        other => panic!("the reference does not know {other:?}"),
    }
    if landing.is_some_and(|landing| landing.gclid) {
        return Some("paid_search");
    }
    let on_shop = landing.is_some_and(|landing| landing.base.starts_with("https://shop.example/"));
    match keys.referrer {
        Some("https://www.google.com/search") => return Some("organic_search"),
        Some("https://news.example.org/a") => return Some("referral"),
        Some("https://shop.example/cart") if !on_shop => return Some("referral"),
        _ => {}
    }
    tag("campaign").map(|_| "unassigned")
}
