//! Days of 23 and 25 hours, pages of lists, content that has not changed, and the document that says all this.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::Value;
use slotcast_reservation_testing::http::{Server, draft};

#[tokio::test(flavor = "multi_thread")]
async fn days_are_as_long_as_their_zone_has_them() {
    let server = Server::start().await;
    server.sell(1).await;
    let anybody = server.anybody();
    for (place, from, to) in [
        ("/days/2026-10-25?zone=Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("/days/2027-03-28?zone=Europe%2FBerlin", "2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"),
        ("/days/2026-11-25", "2026-11-24T15:00:00Z", "2026-11-25T15:00:00Z"),
        ("/channels/1/days/2026-11-25?zone=UTC", "2026-11-25T00:00:00Z", "2026-11-26T00:00:00Z"),
    ] {
        let day = anybody.get(place).await;
        assert_eq!((&day.body["from"], &day.body["to"]), (&from.into(), &to.into()), "{place} {day:?}");
    }
    let month = anybody.get("/months/2026-12?zone=America/New_York").await;
    assert_eq!(month.body["from"], "2026-12-01T05:00:00Z");
    assert_eq!(month.body["days"].as_array().unwrap().len(), 31);
    assert_eq!(month.body["days"][3]["channels"][0]["free"], 144, "{month:?}");
    for (bad, status) in [
        ("/days/2026-02-30", 404),
        ("/days/0001-01-01", 404),
        ("/days/9999-12-31", 404),
        ("/months/2026-13", 404),
        ("/days/2026-11-25?zone=Mars/Olympus", 422),
        ("/channels/9/days/2026-11-25", 404),
        ("/guide?day=2026-11-18&month=2026-11&day=2026-11-19", 422),
    ] {
        assert_eq!(anybody.get(bad).await.status, status, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_page_by_page() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    for hour in 10..15 {
        let wish = draft(1, &format!("2026-11-19T{hour}:00:00Z"), &format!("2026-11-19T{hour}:10:00Z"));
        assert_eq!(taro.post("/reservations", &wish).await.status, 201);
    }
    let second = taro.get("/reservations?page=2&per_page=2").await;
    assert_eq!((&second.body["itemCount"], &second.body["pageCount"]), (&5.into(), &3.into()));
    let starts: Vec<_> =
        second.body["items"].as_array().unwrap().iter().map(|item| &item["window"]["start"]).collect();
    assert_eq!(starts, ["2026-11-19T12:00:00Z", "2026-11-19T11:00:00Z"]);
    assert_eq!(taro.get("/reservations?page=9").await.body["items"], serde_json::json!([]));
    assert_eq!(taro.get("/reservations?state=confirmed").await.body["itemCount"], 0);
    for bad in ["page=0", "page=x", "per_page=201", "page=1&page=2", "state=unknown", "from=yesterday"] {
        assert_eq!(taro.get(&format!("/reservations?{bad}")).await.status, 422, "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guide_is_sent_only_where_it_has_changed() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let made =
        operator.post("/operator/programs", &draft(1, "2026-11-18T10:00:00Z", "2026-11-18T10:30:00Z")).await;
    assert_eq!(made.status, 201);
    let anybody = server.anybody();
    for place in ["/guide?day=2026-11-18", "/guide?month=2026-11", "/guide", "/guide.ics?month=2026-11"] {
        let whole = anybody.get(place).await;
        assert!(whole.text.contains("Evening concert"), "{place} {whole:?}");
        let tag = whole.header("etag").unwrap().to_owned();
        for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let same = anybody.with("if-none-match", &known).get(place).await;
            assert_eq!(
                (same.status, same.text.as_str(), same.header("etag")),
                (304, "", Some(tag.as_str())),
                "{place}"
            );
        }
        assert_eq!(anybody.with("if-none-match", "\"x\"").get(place).await.status, 200);
    }
    let calendar = anybody.get("/guide.ics?month=2026-11").await;
    assert_eq!(calendar.header("content-type"), Some("text/calendar; charset=utf-8"));
    assert!(
        calendar.text.starts_with("BEGIN:VCALENDAR\r\n")
            && calendar.text.contains("\r\nDTSTART:20261118T100000Z")
    );
    let listed = anybody.get("/guide?day=2026-11-18").await;
    assert_eq!(listed.body["items"][0]["programs"][0]["door"], "CLOSE");
    assert_eq!(anybody.get("/today").await.body["itemCount"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_providers_time_is_told_beside_the_askers() {
    let server = Server::start().await;
    let time = server.anybody().get("/time?client_time=2026-11-18T18:05:01.500%2B09:00").await;
    assert_eq!((&time.body["now"], &time.body["offset_ms"]), (&"2026-11-18T09:05:00Z".into(), &1500.into()));
    assert_eq!(time.body["zone"], "Asia/Tokyo");
    assert_eq!(server.anybody().get("/time?client_time=now").await.fields(), ["client_time"]);
}

/// A path with something at each of its places.
fn filled(path: &str) -> String {
    let path = path.strip_prefix("/api/v1").unwrap();
    path.replace("{number}", "1")
        .replace("{date}", "2026-11-25")
        .replace("{month}", "2026-11")
        .replace("{code}", "stale")
        .replace("{name}", "studio")
        .replace("{id}", "1")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_router_agree() {
    let server = Server::start().await;
    server.sell(1).await;
    let anybody = server.anybody();
    let document = anybody.get("/openapi.json").await.body;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let documented: BTreeSet<String> =
            operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let asked = Method::from_bytes(method.as_bytes()).unwrap();
            // Nobody has programs of one's own; else its answer had no end.
            let query = if path == "/api/v1/events" { "?of=mine" } else { "" };
            let reply = anybody.ask(asked, &(filled(path) + query), None).await;
            if documented.contains(method) {
                assert_ne!(reply.status, 405, "{method} {path}");
                let operation = &operations[method.to_lowercase()];
                assert!(
                    operation["responses"].get(reply.status.to_string()).is_some(),
                    "{method} {path} {reply:?}"
                );
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{path}");
            } else {
                assert_eq!(reply.status, 405, "{method} {path}");
                let allowed: BTreeSet<String> =
                    reply.header("allow").unwrap().split(',').map(str::to_owned).collect();
                let told = allowed.into_iter().filter(|method| method != "HEAD").collect();
                assert_eq!(documented, told, "{path}");
            }
        }
    }
    assert!(ids.len() > 50, "{ids:?}");
}

/// Visits every value of a document.
fn visit<'a>(value: &'a Value, path: &str, look: &mut impl FnMut(&str, &'a Value)) {
    look(path, value);
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| visit(member, &format!("{path}/{name}"), look))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| visit(item, &format!("{path}/{at}"), look));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_whole_and_says_what_every_text_may_be() {
    let server = Server::start().await;
    let document = server.anybody().get("/openapi.json").await.body;
    visit(&document, "", &mut |path, value| {
        if let Some(reference) = value["$ref"].as_str() {
            assert!(document.pointer(&reference[1..]).is_some(), "{path}: {reference}");
        }
        if let Some(pattern) = value["pattern"].as_str() {
            assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{path}: {pattern}");
        }
        assert!(value.get("x-slotcast").is_none(), "{path}");
    });
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        // What is sent to us refuses what it does not know, and bounds every text.
        if schema["additionalProperties"] != false {
            continue;
        }
        for (item, of) in schema["properties"].as_object().unwrap() {
            let is_text = of["type"] == "string"
                || of["type"].as_array().is_some_and(|kinds| kinds.contains(&"string".into()));
            assert!(!is_text || of["maxLength"].is_u64(), "{name}.{item}: {of}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_people_needs_nothing_from_elsewhere() {
    let server = Server::start().await;
    let page = server.anybody().with("accept", "text/html").get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for must in ["lang=\"en\"", "name=\"viewport\"", "href=\"#book\"", "id=\"book\"", "Skip to the content"] {
        assert!(page.text.contains(must), "{must}");
    }
    for never in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.text.contains(never), "{never}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_problem_is_explained_under_its_type() {
    let server = Server::start().await;
    let refused = server.anybody().get("/me").await;
    let kind = refused.body["type"].as_str().unwrap().strip_prefix("/api/v1").unwrap().to_owned();
    let explained = server.anybody().get(&kind).await;
    assert_eq!((explained.status, &explained.body["status"]), (200, &401.into()), "{explained:?}");
    assert_eq!(server.anybody().get("/problems/none-such").await.status, 404);
}
