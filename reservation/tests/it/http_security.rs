//! What the API refuses to those who would abuse it: forged requests, guessing, counting members, injection, bombs.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use slotcast_reservation::limits::{Budget, Budgets};
use slotcast_reservation_testing::http::{
    Client, OPERATOR, PASSWORD, Server, Wishes, draft, many, registration,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_alone_changes_nothing() {
    let server = Server::start().await;
    let taro = server.premium("taro").await;
    let edit = json!({ "email_public": true });
    let forged = Client { csrf: None, ..taro.clone() }.with("if-match", "*");
    let refused = forged.patch("/me", &edit).await;
    assert_eq!((refused.status, refused.code()), (403, "csrf"), "{refused:?}");
    let wrong = Client { csrf: Some("0".repeat(43)), ..taro.clone() }.with("if-match", "*");
    assert_eq!(wrong.patch("/me", &edit).await.code(), "csrf");
    assert_eq!(forged.get("/me").await.body["email_public"], false);
    let other_page = taro.with("if-match", "*").with("origin", "https://evil.example");
    assert_eq!(other_page.patch("/me", &edit).await.code(), "csrf");
    let other_site = taro.with("if-match", "*").with("sec-fetch-site", "cross-site");
    assert_eq!(other_site.patch("/me", &edit).await.code(), "csrf");
    let log_in = server.anybody().with("origin", "null");
    let refused = log_in.post("/session", &json!({ "user_id": "taro", "password": PASSWORD })).await;
    assert_eq!(refused.code(), "csrf", "{refused:?}");
    let own = taro.with("if-match", "*").with("origin", &taro.base).with("sec-fetch-site", "same-origin");
    assert_eq!(own.patch("/me", &edit).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_csrf_token_is_told_to_the_session_alone() {
    let server = Server::start().await;
    let taro = server.premium("taro").await;
    let session = taro.get("/session").await;
    assert_eq!(session.body["csrf_token"].as_str(), taro.csrf.as_deref());
    assert_eq!(server.anybody().get("/session").await.status, 401);
    assert_eq!(taro.delete("/session").await.status, 204);
    assert_eq!(taro.get("/me").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_bound_to_tls_where_there_is_tls() {
    let wishes = Wishes { base_url: Some("https://cast.example"), ..Wishes::default() };
    let server = Server::start_as(wishes).await;
    let log_in = json!({ "user_id": OPERATOR.0, "password": OPERATOR.1 });
    let reply = server.anybody().post("/session", &log_in).await;
    let cookie = reply.header("set-cookie").unwrap();
    for part in ["__Host-slotcast=", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure", "; Max-Age="] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Domain") && reply.header("strict-transport-security").is_some());
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_is_slowed_down_and_says_until_when() {
    let few = Budget { burst: 3, every: Duration::from_secs(60) };
    let wishes = Wishes { budgets: Budgets { log_in_user: few, ..many() }, ..Wishes::default() };
    let server = Server::start_as(wishes).await;
    let guess = |at: usize| json!({ "user_id": OPERATOR.0, "password": format!("guess {at}") });
    let mut codes = Vec::new();
    for at in 0..6 {
        codes.push(server.anybody().post("/session", &guess(at)).await.code().to_owned());
    }
    assert_eq!(codes[..3], ["wrong-log-in", "wrong-log-in", "wrong-log-in"]);
    assert_eq!(codes[4..], ["too-many", "too-many"], "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let server = Server::start().await;
    let ask = async |user_id: &str| {
        let reply =
            server.anybody().post("/session", &json!({ "user_id": user_id, "password": "not this" })).await;
        let names: Vec<_> = reply.headers.keys().map(ToString::to_string).collect();
        (reply.status, names, reply.text)
    };
    assert_eq!(ask(OPERATOR.0).await, ask("nobody").await);
    assert_eq!(ask("no body!").await.0, 401);
    let (taro, hanako) = (server.premium("taro").await, server.premium("hanako").await);
    server.sell(1).await;
    let booked = taro.post("/reservations", &draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z")).await;
    let theirs = hanako.get(&format!("/reservations/{}", booked.body["number"])).await;
    let nobodys = hanako.get("/reservations/12345").await;
    assert_eq!((theirs.status, theirs.text), (404, nobodys.text));
}

#[tokio::test(flavor = "multi_thread")]
async fn secret_programs_are_nowhere_to_be_seen() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let mut wish = draft(1, "2026-11-18T10:00:00Z", "2026-11-18T10:30:00Z");
    wish["program"] = json!({ "title": "Hidden thing", "open_level": "secret", "password": "sesame" });
    let made = operator.post("/operator/programs", &wish).await;
    assert_eq!(made.status, 201, "{made:?}");
    let anybody = server.anybody();
    for path in
        ["/today", "/guide?day=2026-11-18", "/guide?month=2026-11", "/guide.ics?month=2026-11", "/pickups"]
    {
        let reply = anybody.get(path).await;
        assert_eq!(reply.status, 200, "{path} {reply:?}");
        assert!(!reply.text.contains("Hidden"), "{path}");
    }
    let place = format!("/programs/{}", made.body["number"]);
    assert_eq!(anybody.get(&place).await.status, 404);
    assert_eq!(operator.get(&place).await.status, 200);
    assert!(!anybody.get("/days/2026-11-18").await.text.contains("Hidden"));
}

/// What might be read as something else by a database, a page, a header, a path, a template or a spreadsheet.
const INJECTIONS: [&str; 14] = [
    "' OR '1'='1",
    "'; DROP TABLE members; --",
    "\" UNION SELECT 1 --",
    "<script>alert(1)</script>",
    "a\r\nSet-Cookie: x=1",
    "a\nBcc: x@y.example",
    "a\u{0}b",
    "a\u{2028}b",
    "\u{202e}4pm.exe",
    "../../etc/passwd",
    "%00%0d%0a",
    "${jndi:ldap://x}",
    "{{7*7}}",
    "=cmd|'/c calc'!A1",
];

#[tokio::test(flavor = "multi_thread")]
async fn injections_are_text_or_refused_in_every_field() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let taro = server.premium("taro").await;
    let base = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    for text in INJECTIONS {
        for field in ["user_id", "name", "reading", "email", "web", "password"] {
            let mut body = registration("somebody");
            body[field] = text.into();
            let reply = server.anybody().post("/members", &body).await;
            assert!(matches!(reply.status, 201 | 409 | 422), "{field} {text:?} {reply:?}");
            assert!(
                reply.status != 201 || field == "password" || reply.body[field] == text,
                "{field} {reply:?}"
            );
        }
        for field in ["title", "genre", "outline", "details", "password"] {
            let mut body = base.clone();
            body["program"]["open_level"] = "password".into();
            body["program"]["password"] = "sesame".into();
            body["program"][field] = text.into();
            let reply = taro.post("/reservations", &body).await;
            assert!(matches!(reply.status, 201 | 409 | 422), "{field} {text:?} {reply:?}");
            if reply.status == 201 {
                assert_eq!(reply.body["program"][field], text);
                taro.post(&format!("/reservations/{}/cancel", reply.body["number"]), &json!({})).await;
            }
            assert!(
                !text.contains(['\r', '\u{0}', '\u{2028}', '\u{202e}']) || reply.status == 422,
                "{field} {text:?} {reply:?}"
            );
        }
        let logged = server.anybody().post("/session", &json!({ "user_id": text, "password": text })).await;
        assert_eq!(logged.status, 401, "{logged:?}");
        let named = taro.post("/me/tokens", &json!({ "name": text, "scopes": ["read"], "days": 1 })).await;
        assert!(matches!(named.status, 201 | 422), "{named:?}");
        let note = operator.put("/operator/pickups/1", &json!({ "note": text, "position": 1 })).await;
        assert!(matches!(note.status, 404 | 422), "{note:?}");
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        for place in [
            format!("/days/{escaped}"),
            format!("/days/2026-11-19?zone={escaped}"),
            format!("/guide?day={escaped}"),
            format!("/guide.ics?month={escaped}"),
            format!("/time?client_time={escaped}"),
            format!("/problems/{escaped}"),
            format!("/programs/{escaped}"),
        ] {
            let reply = taro.get(&place).await;
            assert!(matches!(reply.status, 404 | 422), "{place} {reply:?}");
        }
    }
    assert_eq!(taro.get("/me").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_addresses_have_limits() {
    let server = Server::start().await;
    let anybody = server.anybody();
    let reply = anybody.post("/session", &json!({ "user_id": "x".repeat(70_000), "password": "x" })).await;
    assert_eq!((reply.status, reply.code()), (413, "too-large"));
    let webhook = anybody.ask(Method::POST, "/payments/webhook", Some("x".repeat(70_000))).await;
    assert_eq!(webhook.status, 413);
    let long = anybody.get(&format!("/time?x={}", "y".repeat(3000))).await;
    assert_eq!((long.status, long.code()), (414, "url-too-long"));
    let deep = "[".repeat(20_000);
    assert_eq!(anybody.ask(Method::POST, "/session", Some(deep)).await.code(), "bad-json");
    let many: Vec<_> = (0..60).map(|at| format!("friend{at}@example.com")).collect();
    let mut wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    wish["program"]["friends"] = many.into();
    assert_eq!(server.premium("taro").await.post("/reservations", &wish).await.fields(), ["program.friends"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn formats_methods_and_addresses_that_are_not_known_are_told() {
    let server = Server::start().await;
    let anybody = server.anybody();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let reply =
            anybody.with("content-type", kind).ask(Method::POST, "/session", Some("{}".to_owned())).await;
        assert_eq!((reply.status, reply.code()), (415, "media-type"), "{kind}");
    }
    let charset = anybody.with("content-type", "application/json; charset=utf-8");
    assert_eq!(
        charset.ask(Method::POST, "/session", Some("{}".to_owned())).await.fields(),
        ["user_id", "password"]
    );
    for text in ["", "{", "{\"user_id\": }", "\u{feff}{}", "nonsense"] {
        assert_eq!(
            anybody.ask(Method::POST, "/session", Some(text.to_owned())).await.code(),
            "bad-json",
            "{text}"
        );
    }
    for text in ["[]", "null", "1", "\"x\""] {
        assert_eq!(anybody.ask(Method::POST, "/session", Some(text.to_owned())).await.status, 422, "{text}");
    }
    let unknown = anybody.get("/nothing/here").await;
    assert_eq!((unknown.status, unknown.code()), (404, "no-such-address"));
    let method = anybody.ask(Method::PUT, "/session", None).await;
    assert_eq!((method.status, method.code()), (405, "method-not-allowed"));
    let allowed = method.header("allow").unwrap();
    for name in ["GET", "POST", "DELETE"] {
        assert!(allowed.contains(name), "{allowed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_missing_is_named_at_once() {
    let server = Server::start().await;
    let reply = server.anybody().post("/members", &json!({ "name": "", "premium": {}, "more": 1 })).await;
    assert_eq!(reply.code(), "invalid");
    let mut fields = reply.fields();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["email", "more", "name", "password", "premium.address", "premium.phone", "reading", "user_id"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_do_what_their_scopes_say_and_never_touch_the_account() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let reads = taro.token(&["read"]).await;
    let wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    assert_eq!(reads.get("/me").await.status, 200);
    let refused = reads.post("/reservations", &wish).await;
    assert_eq!((refused.status, refused.code(), &refused.body["scope"]), (403, "scope", &"book".into()));
    let books = taro.token(&["book"]).await;
    let booked = books.post("/reservations", &wish).await;
    assert_eq!(booked.status, 201, "{booked:?}");
    for client in [&reads, &books] {
        assert_eq!(client.get("/me/tokens").await.code(), "scope");
        assert_eq!(client.with("if-match", "*").patch("/me", &json!({})).await.code(), "scope");
        assert_eq!(client.get("/operator/members").await.status, 403);
    }
    assert_eq!(
        taro.post("/me/tokens", &json!({ "name": "o", "scopes": ["moderate"], "days": 1 })).await.status,
        403
    );
    assert_eq!(taro.delete("/me/tokens/read").await.status, 204);
    let ended = reads.get("/me").await;
    assert_eq!((ended.status, ended.header("www-authenticate").is_some()), (401, true));
    let forged = Client { bearer: Some("x".repeat(43)), ..server.anybody() };
    assert_eq!(forged.get(&format!("/programs/{}", booked.body["number"])).await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_is_done_once() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await.with("idempotency-key", "first-try");
    let wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    let first = taro.post("/reservations", &wish).await;
    let second = taro.post("/reservations", &wish).await;
    assert_eq!((first.status, second.status), (201, 201), "{second:?}");
    assert_eq!(first.body["number"], second.body["number"]);
    let other = draft(1, "2026-11-19T11:00:00Z", "2026-11-19T11:30:00Z");
    assert_eq!(taro.post("/reservations", &other).await.code(), "idempotency-key-reused");
    let list = taro.get("/reservations").await;
    assert_eq!((&list.body["itemCount"], &list.body["pageCount"]), (&1.into(), &1.into()));
    for bad in ["", "with space", &"x".repeat(129)] {
        let reply = server.premium(&format!("member{}", bad.len())).await.with("idempotency-key", bad);
        assert_eq!(reply.post("/reservations", &wish).await.code(), "bad-request", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_say_what_they_edit() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let booked = taro.post("/reservations", &draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z")).await;
    let place = format!("/reservations/{}", booked.body["number"]);
    let tag = booked.header("etag").unwrap().to_owned();
    let edit = json!({ "title": "Another title" });
    let missing = taro.patch(&place, &edit).await;
    assert_eq!((missing.status, missing.code()), (428, "if-match-required"));
    let changed = taro.with("if-match", &tag).patch(&place, &edit).await;
    assert_eq!(
        (changed.status, &changed.body["program"]["title"]),
        (200, &"Another title".into()),
        "{changed:?}"
    );
    let stale = taro.with("if-match", &tag).patch(&place, &edit).await;
    assert_eq!((stale.status, stale.code()), (412, "stale"));
    assert_eq!(stale.header("etag"), changed.header("etag"));
    assert_eq!(taro.with("if-match", "W/\"1\"").patch(&place, &edit).await.code(), "bad-request");
    assert_eq!(taro.with("if-match", "*").patch(&place, &json!({ "window": 1 })).await.fields(), ["window"]);
    let none: [(&str, Value); 1] = [("title", Value::Null)];
    let same = taro.with("if-match", "*").patch(&place, &json!({ none[0].0: none[0].1 })).await;
    assert_eq!((same.status, &same.body["program"]["title"]), (200, &"Another title".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn card_numbers_are_not_taken() {
    let server = Server::start().await;
    let mut body = registration("taro");
    body["premium"]["card_token"] = "4242424242424242".into();
    let reply = server.anybody().post("/members", &body).await;
    assert_eq!(reply.fields(), ["premium.card_token"], "{reply:?}");
    assert!(!reply.text.contains("4242"));
}

#[tokio::test(flavor = "multi_thread")]
async fn booking_is_slowed_down_for_each_member() {
    let few = Budget { burst: 2, every: Duration::from_secs(60) };
    let wishes = Wishes { budgets: Budgets { book_member: few, ..many() }, ..Wishes::default() };
    let server = Server::start_as(wishes).await;
    server.sell(1).await;
    let (taro, hanako) = (server.premium("taro").await, server.premium("hanako").await);
    let wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    assert_eq!(taro.post("/reservations", &wish).await.status, 201);
    assert_eq!(taro.post("/reservations", &wish).await.code(), "slot-taken");
    let refused = taro.post("/reservations", &wish).await;
    assert_eq!((refused.status, refused.code()), (429, "too-many"), "{refused:?}");
    assert_eq!(hanako.post("/reservations", &wish).await.code(), "slot-taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_trusted_proxy_says_from_where_somebody_asks() {
    let few = Budget { burst: 1, every: Duration::from_secs(60) };
    let budgets = Budgets { register: few, ..many() };
    let register = async |server: &Server, user_id: &str, address: &str| {
        let client = server.anybody().with("x-forwarded-for", address);
        client.post("/members", &registration(user_id)).await.status
    };
    let server = Server::start_as(Wishes { budgets, ..Wishes::default() }).await;
    assert_eq!(register(&server, "taro", "192.0.2.1").await, 201);
    assert_eq!(register(&server, "hanako", "192.0.2.2").await, 429);
    let trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    let server = Server::start_as(Wishes { budgets, trusted_proxies, ..Wishes::default() }).await;
    assert_eq!(register(&server, "taro", "192.0.2.9, 192.0.2.1").await, 201);
    assert_eq!(register(&server, "hanako", "192.0.2.2").await, 201);
    assert_eq!(register(&server, "jiro", "192.0.2.3, 192.0.2.2").await, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_friend_stops_mails_by_the_link_of_the_mail_and_only_by_a_button() {
    let server = Server::start().await;
    let service = &server.service;
    let link = service.mail_stop_url(&"friend@example.com".parse().unwrap());
    let place = link.split("/api/v1").nth(1).unwrap();
    let anybody = server.anybody().with("accept", "text/html").with("sec-fetch-site", "cross-site");
    let asked = anybody.get(place).await;
    assert!(asked.status == 200 && asked.text.contains("<form method=\"post\">"), "{asked:?}");
    assert!(asked.header("content-security-policy").unwrap().contains("form-action 'self'"));
    let is_stopped = async || {
        let hash = slotcast_reservation_testing::service::hash("friend@example.com");
        service.store().read().await.unwrap().is_stopped(&hash).await.unwrap()
    };
    assert!(!is_stopped().await, "looking stops nothing");
    // As mail programs do it: a form, from nowhere, without a cookie.
    let form = Some("List-Unsubscribe=One-Click".to_owned());
    let anybody = anybody.with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(anybody.ask(Method::POST, place, form).await.status, 200);
    assert!(is_stopped().await);
    let unknown = service.stop_mails(&format!("{}x", place.rsplit('/').next().unwrap())).await;
    assert!(unknown.is_err(), "another address was stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn public_programs_are_for_members_alone_where_the_operator_says_so() {
    let server = Server::start_as(Wishes { members_only: true, ..Wishes::default() }).await;
    let operator = server.sell(1).await;
    let mut wish = draft(1, "2026-11-18T10:00:00Z", "2026-11-18T10:30:00Z");
    wish["program"] = json!({ "title": "For members", "open_level": "public" });
    let made = operator.post("/operator/programs", &wish).await;
    assert_eq!(made.status, 201, "{made:?}");
    let place = format!("/operator/pickups/{}", made.body["number"]);
    assert_eq!(operator.put(&place, &json!({ "note": "", "position": 1 })).await.status, 204);
    let (anybody, taro) = (server.anybody(), server.premium("taro").await);
    for path in ["/today", "/guide?day=2026-11-18", "/guide?month=2026-11", "/pickups"] {
        assert!(!anybody.get(path).await.text.contains("For members"), "{path}");
        assert!(taro.get(path).await.text.contains("For members"), "{path}");
    }
    let place = format!("/programs/{}", made.body["number"]);
    assert_eq!((anybody.get(&place).await.status, taro.get(&place).await.status), (401, 200));
    let feed = taro.get("/me/feed").await.body["address"].as_str().unwrap().to_owned();
    let (_, feed) = feed.split_once("/api/v1").unwrap();
    let feed = format!("{feed}&month=2026-11");
    assert!(anybody.get(&feed).await.text.contains("For members"));
    assert!(!anybody.get("/guide.ics?month=2026-11").await.text.contains("For members"));
    assert_eq!(anybody.get(&feed.replace("feed=", "feed=1")).await.status, 404);
    let change = json!({ "old_password": PASSWORD, "new_password": "another long pass phrase" });
    assert_eq!(taro.put("/me/password", &change).await.status, 204);
    assert_eq!(anybody.get(&feed).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_shown_where_member_and_program_both_say_so() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let mut wish = draft(1, "2026-11-18T10:00:00Z", "2026-11-18T10:30:00Z");
    wish["program"] = json!({ "title": "With an address", "open_level": "public", "show_email": true });
    let made = operator.post("/operator/programs", &wish).await;
    let place = format!("/programs/{}", made.body["number"]);
    assert_eq!(server.anybody().get(&place).await.body["email"], Value::Null);
    let edit = json!({ "email_public": true });
    assert_eq!(operator.with("if-match", "*").patch("/me", &edit).await.status, 200);
    assert!(server.anybody().get(&place).await.body["email"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_operators_do_what_their_scope_says_and_make_no_operators() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    server.premium("taro").await;
    let members = operator.get("/operator/members").await;
    let taro = members.body["items"].as_array().unwrap().iter().find(|member| member["user_id"] == "taro");
    let taro = format!("/operator/members/{}", taro.unwrap()["number"]);
    let (ledger, moderate) = (operator.token(&["ledger"]).await, operator.token(&["moderate"]).await);
    for path in ["/operator/ledger", "/operator/reservations"] {
        assert_eq!(ledger.get(path).await.status, 200, "{path}");
    }
    assert_eq!(ledger.get("/operator/members").await.body["scope"], "moderate");
    assert_eq!(moderate.get("/operator/ledger").await.body["scope"], "ledger");
    let any = moderate.with("if-match", "*");
    let refused = any.patch(&taro, &json!({ "is_operator": true })).await;
    assert_eq!((refused.status, &refused.body["scope"]), (403, &"account".into()), "{refused:?}");
    assert_eq!(any.patch(&taro, &json!({ "is_blocked": true })).await.status, 200);
    let raised = operator.with("if-match", "*").patch(&taro, &json!({ "is_operator": true })).await;
    assert_eq!(raised.body["is_operator"], true, "{raised:?}");
}
