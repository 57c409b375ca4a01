//! What people see when there is nowhere to go.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use maud::{DOCTYPE, PreEscaped, html};

/// A page in place of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// No such link.
    NotFound,
    /// The link is over and names no other place.
    Gone,
    /// The link cannot be looked up at the moment.
    Unavailable,
    /// Links are followed by GET or HEAD.
    MethodNotAllowed,
}

impl Page {
    pub fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Gone => StatusCode::GONE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// HTML, made once.
    pub fn body(self) -> Bytes {
        static BODIES: LazyLock<[Bytes; 4]> = LazyLock::new(|| {
            [
                render(
                    "This link leads nowhere",
                    "There is no link at this address. Perhaps a letter went missing: small and capital letters are not the same here.",
                ),
                render("This link has ended", "Whoever made it has taken it down, or its time is over."),
                render(
                    "Please try again",
                    "The link cannot be looked up just now. In a moment it will work again.",
                ),
                render("Links are for following", "This address only answers GET and HEAD."),
            ]
        });
        BODIES[self as usize].clone()
    }
}

fn render(title: &str, text: &str) -> Bytes {
    const STYLE: &str = "html{color-scheme:light dark;font-family:system-ui,sans-serif}\
        body{margin:0;min-height:100vh;display:grid;place-items:center;text-align:center}\
        main{padding:2rem;max-width:32rem}h1{font-size:1.5rem}p{line-height:1.5;opacity:.8}";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { h1 { (title) } p { (text) } } }
        }
    };
    page.into_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_has_its_own_text() {
        let check = |page: Page, status: u16, words: &str| {
            assert_eq!(page.status().as_u16(), status);
            let body = String::from_utf8(page.body().to_vec()).unwrap();
            assert!(body.starts_with("<!DOCTYPE html>") && body.contains(words), "{body}");
        };
        check(Page::NotFound, 404, "leads nowhere");
        check(Page::Gone, 410, "has ended");
        check(Page::Unavailable, 503, "try again");
        check(Page::MethodNotAllowed, 405, "GET and HEAD");
    }
}
