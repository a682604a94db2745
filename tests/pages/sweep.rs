//! Each page in a browser, in both languages, both lights and two widths.

use serde_json::json;

use crate::{lives, stage};

#[test]
fn nothing_is_found_on_any_public_page() {
    let Some(tools) = stage::tools() else { return };
    let site = lives::site(None, true, "");
    let pages = [
        "",
        "about",
        "today",
        "guide",
        "pickup",
        "terms",
        "register",
        "register?kind=premium",
        "login",
        "password",
        "verify",
    ];
    let pages: Vec<_> = pages
        .iter()
        .map(|path| json!({ "name": format!("page-{}", path.replace(['?', '='], "-")), "path": format!("/{path}") }))
        .collect();
    let scene = json!({ "base": format!("http://{}", site.http), "pages": pages });
    let (succeeded, said) = stage::run(&tools, "sweep", &scene);
    assert!(succeeded, "{said}");
}
