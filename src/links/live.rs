//! A link as a redirector keeps it: ready to be answered with, in little room.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::HotLink;
use crate::domain::ids::LinkId;
use crate::domain::token::TOKEN_LEN;
use crate::domain::utm::{ClickParam, Destination, Utm, forward_query, link_destination, query_joiner};

/// All texts stand in one allocation: `url joiner param = fragment expired_url`.
#[derive(Debug)]
pub struct Link {
    pub id: LinkId,
    pub workspace: Arc<str>,
    pub revision: i64,
    /// i64::MAX: never.
    expires_at_ms: i64,
    text: Box<str>,
    /// Ends of the parts of `text`.
    url_end: u32,
    head_end: u32,
    fragment_end: u32,
    flags: u8,
    is_outdated: AtomicBool,
}

const CLICK_PARAM: u8 = 1;
const FORWARD_QUERY: u8 = 2;
const CLOSED: u8 = 4;

impl Link {
    /// `workspace` is the name in the copy, shared by all links of the workspace.
    pub fn new(copy: &HotLink, workspace: Arc<str>) -> Self {
        let Destination { url, fragment, click_param } = &copy.destination;
        let mut text = url.clone();
        let url_end = text.len();
        if let Some(param) = click_param {
            text.push_str(query_joiner(url));
            text.push_str(param);
            text.push('=');
        }
        let head_end = text.len();
        text.push_str(fragment);
        let fragment_end = text.len();
        if let Some(expired_url) = &copy.expired_url {
            // As fit for a header as the destination is.
            text.push_str(&link_destination(expired_url, &Utm::default(), ClickParam::Off).to_url());
        }
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let end = |at: usize| u32::try_from(at).expect("a link's texts are bounded by the API");
        Self {
            id: copy.id,
            workspace,
            revision: copy.revision,
            expires_at_ms: copy.expires_at_ms.unwrap_or(i64::MAX),
            url_end: end(url_end),
            head_end: end(head_end),
            fragment_end: end(fragment_end),
            text: text.into_boxed_str(),
            flags: flag(click_param.is_some(), CLICK_PARAM)
                | flag(copy.forward_query, FORWARD_QUERY)
                | flag(copy.closed, CLOSED),
            is_outdated: AtomicBool::new(false),
        }
    }

    /// What it was made of.
    pub fn to_copy(&self) -> HotLink {
        HotLink {
            id: self.id,
            workspace: self.workspace.to_string(),
            destination: Destination {
                url: self.url().to_owned(),
                fragment: self.fragment().to_owned(),
                click_param: self.click_param().map(str::to_owned),
            },
            forward_query: self.flags & FORWARD_QUERY != 0,
            expires_at_ms: Some(self.expires_at_ms).filter(|at| *at != i64::MAX),
            expired_url: self.expired_url().map(str::to_owned),
            closed: self.flags & CLOSED != 0,
            revision: self.revision,
        }
    }

    /// Archived, full or past its time.
    pub fn is_over(&self, now_ms: i64) -> bool {
        self.flags & CLOSED != 0 || now_ms >= self.expires_at_ms
    }

    /// It changed: what this says serves only as long as nothing newer can be had.
    pub fn outdate(&self) {
        self.is_outdated.store(true, Ordering::Release);
    }

    pub fn is_outdated(&self) -> bool {
        self.is_outdated.load(Ordering::Acquire)
    }

    /// Where visitors go once it is over.
    pub fn expired_url(&self) -> Option<&str> {
        Some(&self.text[self.fragment_end as usize..]).filter(|url| !url.is_empty())
    }

    /// The address of one click. `query`: what the short URL was called with, or nothing. A token is minted
    /// only for links that carry one.
    pub fn location(&self, query: &str, mint: impl FnOnce() -> [u8; TOKEN_LEN]) -> Vec<u8> {
        let has_token = self.flags & CLICK_PARAM != 0;
        let token = has_token.then(mint);
        let token = token.as_ref().map_or(&[][..], |token| token);
        let forwarded = if query.is_empty() || self.flags & FORWARD_QUERY == 0 {
            None
        } else {
            let mut url = forward_query(self.url(), query, self.click_param());
            if let Some(param) = self.click_param() {
                url.push_str(query_joiner(&url));
                url.push_str(param);
                url.push('=');
            }
            Some(url)
        };
        let head = forwarded.as_deref().unwrap_or(&self.text[..self.head_end as usize]);
        let mut location = Vec::with_capacity(head.len() + token.len() + self.fragment().len());
        location.extend_from_slice(head.as_bytes());
        location.extend_from_slice(token);
        location.extend_from_slice(self.fragment().as_bytes());
        location
    }

    /// Bytes in memory, with what the allocator and two reference counts add.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.text.len() + 16
    }

    fn url(&self) -> &str {
        &self.text[..self.url_end as usize]
    }

    fn fragment(&self) -> &str {
        &self.text[self.head_end as usize..self.fragment_end as usize]
    }

    fn click_param(&self) -> Option<&str> {
        let param = self.text[self.url_end as usize..self.head_end as usize].strip_suffix('=')?;
        Some(param.trim_start_matches(['?', '&']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(url: &str, click_param: ClickParam<'_>) -> HotLink {
        HotLink {
            id: LinkId::from_i64(7).unwrap(),
            workspace: "main".into(),
            destination: link_destination(url, &Utm::from_query("utm_source=x"), click_param),
            forward_query: true,
            expires_at_ms: Some(1_000),
            expired_url: Some("https://s.test/over".into()),
            closed: false,
            revision: 3,
        }
    }

    #[test]
    fn locations_carry_token_query_and_fragment() {
        let check = |url: &str, param: ClickParam<'_>, query: &str, expected: &str| {
            let link = Link::new(&copy(url, param), "main".into());
            let location = String::from_utf8(link.location(query, || [b'T'; TOKEN_LEN])).unwrap();
            assert_eq!(location.replace(&"T".repeat(TOKEN_LEN), "T"), expected, "{url} {query}");
        };
        let named = ClickParam::Named("cid");
        check("https://s.test/a", ClickParam::Default, "", "https://s.test/a?utm_source=x&um_click=T");
        check("https://s.test/a#f", named, "", "https://s.test/a?utm_source=x&cid=T#f");
        check("https://s.test/a#f", ClickParam::Off, "", "https://s.test/a?utm_source=x#f");
        check(
            "https://s.test/a#f",
            ClickParam::Default,
            "b=1&um_click=no",
            "https://s.test/a?utm_source=x&b=1&um_click=T#f",
        );
        check("https://s.test/a", named, "utm_source=Y&cid=no", "https://s.test/a?utm_source=Y&cid=T");
        check("https://s.test/a", ClickParam::Off, "b", "https://s.test/a?utm_source=x&b");

        let quiet = HotLink { forward_query: false, ..copy("https://s.test/a", ClickParam::Default) };
        let location = Link::new(&quiet, "main".into()).location("b=1", || [b'T'; TOKEN_LEN]);
        assert!(location.starts_with(b"https://s.test/a?utm_source=x&um_click=T"));
    }

    #[test]
    fn copies_survive() {
        for param in [ClickParam::Default, ClickParam::Off, ClickParam::Named("cid")] {
            for url in ["https://s.test", "https://s.test/?a&#f"] {
                let copy = copy(url, param);
                assert_eq!(Link::new(&copy, "main".into()).to_copy(), copy);
            }
        }
        let bare = HotLink {
            expires_at_ms: None,
            expired_url: None,
            closed: true,
            ..copy("https://s.test", ClickParam::Off)
        };
        assert_eq!(Link::new(&bare, "main".into()).to_copy(), bare);
    }

    #[test]
    fn links_end() {
        let link = Link::new(&copy("https://s.test", ClickParam::Default), "main".into());
        assert!(!link.is_over(999) && link.is_over(1_000));
        assert_eq!(link.expired_url(), Some("https://s.test/over"));
        let unsafe_url = HotLink {
            expired_url: Some("https://s.test/ä\r\nX: y".into()),
            closed: true,
            ..copy("u", ClickParam::Off)
        };
        let link = Link::new(&unsafe_url, "main".into());
        assert!(link.is_over(0));
        assert_eq!(link.expired_url(), Some("https://s.test/%C3%A4%0D%0AX:%20y"));
    }
}
