//! The frame of all pages.

use std::sync::LazyLock;

use maud::{DOCTYPE, Markup, html};

use super::session::Session;
use super::view::View;

pub const STYLE: &str = include_str!("style.css");
pub const SCRIPT: &str = include_str!("app.js");

/// Addresses that change with the content, so that browsers may keep the files for ever.
static STYLE_HREF: LazyLock<String> = LazyLock::new(|| versioned("/app/style.css", STYLE));
static SCRIPT_HREF: LazyLock<String> = LazyLock::new(|| versioned("/app/app.js", SCRIPT));

fn versioned(path: &str, content: &str) -> String {
    format!("{path}?v={}", &blake3::hash(content.as_bytes()).to_hex()[..12])
}

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · utmost" }
                link rel="icon" href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%230f766e'/%3E%3Cpath d='M8 20l6-7 4 4 6-8' fill='none' stroke='white' stroke-width='3' stroke-linecap='round' stroke-linejoin='round'/%3E%3C/svg%3E";
                link rel="stylesheet" href=(*STYLE_HREF);
                script src=(*SCRIPT_HREF) defer {}
            }
            (body)
        }
    }
}

/// A page of somebody who is signed in.
pub fn page(session: &Session, view: &View, here: &str, title: &str, content: &Markup) -> Markup {
    let frame = view.frame();
    let nav = [
        ("/app", "Report"),
        ("/app/compare", "Models"),
        ("/app/customers", "Customers"),
        ("/app/conversions", "Orders"),
        ("/app/snapshots", "Closed"),
    ];
    document(
        title,
        &html! {
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    a.brand href=(frame.href("/app")) { (mark()) "utmost" }
                    nav aria-label="Pages" {
                        @for (path, name) in nav {
                            a href=(frame.href(path)) aria-current=[(path == here).then_some("page")] { (name) }
                        }
                    }
                    div.who {
                        @if !session.choices.is_empty() {
                            form method="get" action="/app" {
                                label.hidden for="workspace" { "Workspace" }
                                select #workspace name="workspace" {
                                    @for (id, name) in &session.choices {
                                        option value=(id) selected[*id == session.workspace] { (name) }
                                    }
                                }
                                button.quiet.without-script { "Go" }
                            }
                        }
                        form method="post" action="/app/sign-out" { button.quiet { "Sign out" } }
                    }
                }
                main #content { (content) }
            }
        },
    )
}

/// A page with nothing but a message.
pub fn message(title: &str, text: &str) -> Markup {
    document(
        title,
        &html! {
            body.alone {
                main #content .message {
                    a.brand href="/app" { (mark()) "utmost" }
                    h1 { (title) }
                    p { (text) }
                    p { a href="/app" { "Back to the report" } }
                }
            }
        },
    )
}

/// The form to sign in with, and why the last try was refused.
pub fn sign_in(refused: Option<&str>) -> Markup {
    document(
        "Sign in",
        &html! {
            body.alone {
                main #content .message {
                    p.brand { (mark()) "utmost" }
                    h1 { "Sign in" }
                    p { "See what your posts earn. Use an API key with the scope " code { "reports" } "." }
                    form.sign-in method="post" action="/app/sign-in" {
                        // For password managers, which keep a name with each secret.
                        input type="text" name="username" value="utmost" autocomplete="username" hidden;
                        label for="key" { "Key" }
                        input #key name="key" type="password" required autofocus autocomplete="current-password"
                            spellcheck="false" placeholder="um_…" maxlength="256"
                            aria-describedby=[refused.map(|_| "refused")] aria-invalid=[refused.map(|_| "true")];
                        @if let Some(why) = refused { p.refused #refused role="alert" { (why) } }
                        button.main { "Sign in" }
                    }
                    p.fine {
                        "The administration key stands in " code { "data/admin.key" }
                        ". Make others with " code { "POST /api/v1/keys" } "."
                    }
                }
            }
        },
    )
}

fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 32 32" aria-hidden="true" {
            rect width="32" height="32" rx="8" {}
            path d="M8 20l6-7 4 4 6-8" {}
        }
    }
}
