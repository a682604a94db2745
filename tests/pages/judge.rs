//! Whether the scripts find what they are there to find, on pages that are made wrong.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use serde_json::{Value, json};

use crate::stage;

/// What stands in all pages around `body`.
fn page(head: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>A page</title>\
         <meta name=viewport content='width=device-width, initial-scale=1'><link rel=icon href='data:,'>\
         <link rel=stylesheet href=/style.css>{head}</head><body><main><h1>A page</h1>{body}</main></body></html>"
    )
}

/// A page by its path: its status, type and text.
fn answer(path: &str) -> (u16, &'static str, String) {
    let html = |head: &str, body: &str| (200, "text/html; charset=utf-8", page(head, body));
    match path {
        "/clean" => html("", "<p><a href=/clean>Again</a></p><button>Press</button>"),
        "/barrier" => html("", "<img src=/dot.svg>"),
        "/console" => html("<script src=/throws.js></script>", "<p>It throws.</p>"),
        "/inline" => html("", "<p style='color:red'>Forbidden by the policy.</p>"),
        "/elsewhere" => html("", "<img alt='' src='http://127.0.0.9:1/dot.svg'>"),
        "/wide" => html("", "<div class=wide>Wide</div>"),
        "/small" => html("", "<button class=small>Small</button>"),
        "/trap" => html("<script src=/trap.js></script>", "<button>One</button><button>Two</button>"),
        "/unseen" => html("", "<button class=unseen>Where is the focus?</button>"),
        "/large" => {
            // Numbers that do not compress to nothing.
            let mut seed = 1_u64;
            let mut word = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{seed:x} ")
            };
            let words: String = (0..8_000).map(|_| word()).collect();
            // Many bytes and few pixels: a picture of a page that is all there to be seen takes a busy machine long.
            html("", &format!("<p>Much is hidden.</p><p hidden>{words}</p>"))
        }
        "/broken" => (500, "text/html; charset=utf-8", page("", "<p>It broke.</p>")),
        "/style.css" => (200, "text/css", STYLE.to_owned()),
        "/dot.svg" => (200, "image/svg+xml", "<svg xmlns='http://www.w3.org/2000/svg'/>".to_owned()),
        "/throws.js" => (200, "text/javascript", "throw new Error('thrown on purpose');".to_owned()),
        "/trap.js" => {
            let script = "addEventListener('keydown', (event) => { if (event.key === 'Tab') event.preventDefault(); });";
            (200, "text/javascript", script.to_owned())
        }
        _ => (404, "text/plain", String::new()),
    }
}

const STYLE: &str = "button { min-height: 44px } .small { min-height: 20px; height: 20px } .wide { width: 2000px } \
                     .unseen:focus { outline: none; box-shadow: none } pre, p, main { overflow-wrap: anywhere }";

/// Serves [`answer`]s until the test ends.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || talk(stream));
        }
    });
    address
}

fn talk(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let _rest = lines.by_ref().take_while(|line| !line.is_empty()).count();
    let (status, kind, text) = answer(first.split(' ').nth(1).unwrap_or_default());
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\
         Content-Security-Policy: default-src 'self'; img-src 'self' http: data:\r\n\r\n",
        text.len()
    );
    // A browser that has gone away wants no answer.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes()));
}

fn sweep_of(names: &[&str]) -> Option<(bool, String)> {
    let tools = stage::tools()?;
    let pages: Vec<Value> = names
        .iter()
        .map(|name| json!({ "name": format!("judge-{name}"), "path": format!("/{name}") }))
        .collect();
    let look = json!({ "lang": "en", "theme": "light", "width": 1280 });
    let scene = json!({ "base": format!("http://{}", serve()), "pages": pages, "looks": [look] });
    Some(stage::run(&tools, "sweep", &scene))
}

#[test]
fn a_clean_page_passes_the_sweep() {
    let Some((succeeded, said)) = sweep_of(&["clean"]) else { return };
    assert!(succeeded && !said.contains("FOUND"), "{said}");
}

#[test]
fn each_kind_of_fault_of_a_page_is_found() {
    let wrong = [
        ("barrier", "image-alt"),
        ("console", "thrown on purpose"),
        ("inline", "/inline: console: "),
        ("elsewhere", "asks another host: http://127.0.0.9:1/dot.svg"),
        ("wide", "pixels wider than the window"),
        ("small", "pixels high, less than 44"),
        ("trap", "the Tab key does not reach"),
        ("unseen", "its focus cannot be seen"),
        ("large", "bytes of HTML, compressed"),
        ("broken", "answered 500"),
    ];
    let Some((succeeded, said)) = sweep_of(&wrong.map(|(name, _)| name)) else { return };
    assert!(!succeeded, "{said}");
    let found: Vec<_> = said.lines().filter(|line| line.starts_with("FOUND")).collect();
    for (name, expected) in wrong {
        assert!(
            found.iter().any(|line| line.contains(name) && line.contains(expected)),
            "{name}: {expected} is not among\n{said}"
        );
    }
}
