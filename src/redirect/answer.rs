//! What a request of a short URL is answered with. Pure: time, chance and links are handed in.

use std::borrow::Cow;

use super::page::Page;
use super::visitor::Cookie;
use crate::domain::ids::ClickId;
use crate::domain::keys::KeyRing;
use crate::links::live::Link;
use crate::log::record::{Click, ClientNetwork, Request};

/// A request, as far as it matters.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    pub request: Request,
    /// What stands after `?`, or nothing.
    pub query: &'a str,
    /// The visitor's cookie; None if there is none.
    pub cookie: Option<Cookie>,
    /// The browser, or strict privacy, wants neither cookie nor visitor.
    pub is_anonymous: bool,
    pub address: Option<ClientNetwork>,
    pub user_agent: Cow<'a, str>,
    pub referrer: Cow<'a, str>,
}

/// What chance gives to a click.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    pub click: ClickId,
    pub cookie: Cookie,
}

#[derive(Debug)]
pub enum Answer<'a> {
    /// Record the click, then send the visitor there.
    Go {
        click: Click<'a>,
        location: Vec<u8>,
        set_cookie: Option<Cookie>,
    },
    /// The link is over; this is no click on what it led to.
    Elsewhere {
        location: Vec<u8>,
    },
    Page(Page),
}

/// `link`: None if there is no such link. The click's time is that of the fresh id.
pub fn answer<'a>(asked: Asked<'a>, link: Option<&Link>, fresh: Fresh, keys: &KeyRing) -> Answer<'a> {
    let Some(link) = link else { return Answer::Page(Page::NotFound) };
    if link.is_over(fresh.click.at_ms()) {
        return match link.expired_url() {
            Some(url) => Answer::Elsewhere { location: url.as_bytes().to_vec() },
            None => Answer::Page(Page::Gone),
        };
    }
    let set_cookie = (!asked.is_anonymous && asked.cookie.is_none()).then_some(fresh.cookie);
    let cookie = asked.cookie.filter(|_| !asked.is_anonymous).or(set_cookie);
    let visitor = cookie.map(|cookie| keys.visitor_id(&link.workspace, cookie.as_bytes()));
    let location = link.location(asked.query, || keys.token.mint(fresh.click, link.id, visitor));
    let click = Click {
        id: fresh.click,
        link: link.id,
        visitor,
        is_new_visitor: set_cookie.is_some(),
        request: asked.request,
        address: asked.address,
        user_agent: asked.user_agent.into(),
        referrer: asked.referrer.into(),
        is_replayed: false,
    };
    Answer::Go { click, location, set_cookie }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::LinkId;
    use crate::domain::utm::{ClickParam, Utm, link_destination};
    use crate::links::HotLink;

    const NOW_MS: i64 = 1_795_000_000_000;

    fn copy() -> HotLink {
        HotLink {
            id: LinkId::from_i64(7).unwrap(),
            workspace: "main".into(),
            destination: link_destination("https://s.test/#f", &Utm::default(), ClickParam::Default),
            forward_query: true,
            expires_at_ms: Some(NOW_MS + 1),
            expired_url: None,
            closed: false,
            revision: 1,
        }
    }

    fn link(copy: &HotLink) -> Link {
        Link::new(copy, copy.workspace.as_str().into())
    }

    fn asked() -> Asked<'static> {
        Asked {
            request: Request::Get,
            query: "",
            cookie: None,
            is_anonymous: false,
            address: None,
            user_agent: "agent".into(),
            referrer: "referrer".into(),
        }
    }

    fn fresh() -> Fresh {
        Fresh { click: ClickId::generate(NOW_MS), cookie: Cookie::generate() }
    }

    fn go(asked: Asked<'_>, fresh: Fresh, keys: &KeyRing) -> (Click<'static>, String, Option<Cookie>) {
        match answer(asked, Some(&link(&copy())), fresh, keys) {
            Answer::Go { click, location, set_cookie } => {
                let (user_agent, referrer) = (click.user_agent.to_string(), click.referrer.to_string());
                let click = Click { user_agent: user_agent.into(), referrer: referrer.into(), ..click };
                (click, String::from_utf8(location).unwrap(), set_cookie)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_click_gets_a_visitor_and_its_token() {
        let (keys, fresh) = (KeyRing::generate(0), fresh());
        let (click, location, set_cookie) = go(asked(), fresh, &keys);
        let visitor = keys.visitor_id("main", fresh.cookie.as_bytes());
        assert_eq!((click.id, click.link), (fresh.click, copy().id));
        assert_eq!((click.visitor, click.is_new_visitor), (Some(visitor), true));
        assert_eq!((&*click.user_agent, &*click.referrer), ("agent", "referrer"));
        assert_eq!(set_cookie, Some(fresh.cookie));
        let token = location.strip_prefix("https://s.test/?um_click=").unwrap().strip_suffix("#f").unwrap();
        let token = keys.token.verify(token).unwrap();
        assert_eq!((token.click, token.link, token.visitor), (click.id, click.link, Some(visitor)));

        let known = Asked { cookie: set_cookie, query: "a=1", ..asked() };
        let (again, location, set_cookie) = go(known, self::fresh(), &keys);
        assert_eq!((again.visitor, again.is_new_visitor, set_cookie), (Some(visitor), false, None));
        assert!(location.starts_with("https://s.test/?a=1&um_click="));
    }

    #[test]
    fn who_wants_not_to_be_known_is_not() {
        let keys = KeyRing::generate(0);
        for cookie in [None, Some(Cookie::generate())] {
            let (click, location, set_cookie) =
                go(Asked { is_anonymous: true, cookie, ..asked() }, fresh(), &keys);
            assert_eq!((click.visitor, click.is_new_visitor, set_cookie), (None, false, None));
            let token = location.split_once("um_click=").unwrap().1.strip_suffix("#f").unwrap();
            assert_eq!(keys.token.verify(token).unwrap().visitor, None);
        }
    }

    #[test]
    fn what_is_over_leads_elsewhere() {
        let keys = KeyRing::generate(0);
        let check = |copy: Option<HotLink>, expected: &str| {
            let link = copy.map(|copy| link(&copy));
            let answer = match answer(asked(), link.as_ref(), fresh(), &keys) {
                Answer::Go { .. } => "go".to_owned(),
                Answer::Elsewhere { location } => String::from_utf8(location).unwrap(),
                Answer::Page(page) => page.status().as_str().to_owned(),
            };
            assert_eq!(answer, expected);
        };
        let elsewhere = || Some("https://s.test/over".to_owned());
        check(None, "404");
        check(Some(copy()), "go");
        check(Some(HotLink { expires_at_ms: Some(NOW_MS), ..copy() }), "410");
        check(Some(HotLink { closed: true, ..copy() }), "410");
        check(Some(HotLink { closed: true, expired_url: elsewhere(), ..copy() }), "https://s.test/over");
        check(Some(HotLink { expired_url: elsewhere(), ..copy() }), "go");
    }
}
