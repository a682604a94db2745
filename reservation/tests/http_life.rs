//! A reservation's whole life by HTTP alone, and the parts of it that go wrong; on both databases.

mod http_support;

use http_support::{Client, Database, Reply, Server, Wishes, draft};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn whole_life(database: Database) {
    let Some(server) = Server::start_as(Wishes { database, ..Wishes::default() }).await else { return };
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let quote = taro.get("/quote?channel=1&start=2026-11-19T10:00:00Z&end=2026-11-19T10:30:00Z").await;
    assert_eq!(
        (quote.status, &quote.body["total"], &quote.body["is_bookable"]),
        (200, &3000.into(), &true.into())
    );
    let mut wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    wish["program"]["friends"] = json!(["hanako@example.com"]);
    let booked = taro.post("/reservations", &wish).await;
    assert_eq!((booked.status, &booked.body["state"]), (201, &"held".into()), "{booked:?}");
    let number = booked.body["number"].as_i64().unwrap();
    let place = format!("/reservations/{number}");
    assert_eq!(booked.header("location"), Some(format!("/api/v1{place}").as_str()));
    let accepted = taro.post(&format!("{place}/accept-terms"), &json!({})).await;
    assert_eq!((accepted.status, &accepted.body["state"]), (200, &"registered".into()), "{accepted:?}");
    let id = server.mailed_id(number, 1).await;
    let wrong = taro.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": "0".repeat(26) })).await;
    assert_eq!((wrong.status, wrong.code()), (403, "wrong-reservation-id"));
    let typed = id.to_uppercase().replace('-', " ");
    let confirmed = taro.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": typed })).await;
    assert_eq!((confirmed.status, &confirmed.body["is_accounted"]), (200, &true.into()), "{confirmed:?}");
    let settings = taro.post(&format!("{place}/settings"), &json!({ "reservation_id": id })).await;
    assert_eq!(settings.status, 200, "{settings:?}");
    assert_eq!(settings.body["reservation"]["id"], id.as_str());
    check_seals(&taro, &place, &id).await;

    on_air_and_after(&server, &taro, number).await;
    let csv = server.operator().await.get("/operator/ledger.csv").await;
    assert!(csv.text.contains(&number.to_string()) && csv.text.contains("JPY"), "{csv:?}");
}

/// Whatever is given to protect the settings file protects it, or is refused.
async fn check_seals(taro: &Client, place: &str, id: &str) {
    const PASSPHRASE: &str = "correct horse battery";
    const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let ask = async |more: Value| {
        let mut wish = json!({ "reservation_id": id });
        wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        taro.post(&format!("{place}/settings"), &wish).await
    };
    for sealed in [
        json!({ "seal": "passphrase", "passphrase": PASSPHRASE }),
        json!({ "passphrase": PASSPHRASE }),
        json!({ "seal": "terminal_key", "recipient": KEY }),
        json!({ "recipient": KEY }),
    ] {
        let reply = ask(sealed).await;
        assert!(reply.text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{reply:?}");
    }
    for (wish, field) in [
        (json!({ "seal": "plain", "passphrase": PASSPHRASE }), "passphrase"),
        (json!({ "seal": "terminal_key", "passphrase": PASSPHRASE }), "passphrase"),
        (json!({ "recipient": KEY, "passphrase": PASSPHRASE }), "recipient"),
        (json!({ "seal": "plain", "recipient": KEY }), "recipient"),
        (json!({ "seal": "passphrase" }), "passphrase"),
        (json!({ "seal": "wax" }), "seal"),
        (json!({ "seal": "terminal_key" }), "recipient"),
    ] {
        let reply = ask(wish.clone()).await;
        assert_eq!((reply.status, reply.fields()), (422, vec![field]), "{wish} {reply:?}");
    }
    assert_eq!(taro.put("/me/terminal-key", &json!({ "recipient": KEY })).await.status, 200);
    let sealed = ask(json!({})).await;
    assert!(sealed.text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"), "{sealed:?}");
    assert_eq!(ask(json!({ "seal": "plain" })).await.body["version"], 1);
}

/// From the window's start to the money.
async fn on_air_and_after(server: &Server, taro: &Client, number: i64) {
    let place = format!("/reservations/{number}");
    server.set("2026-11-19T10:00:00Z");
    server.on_air(number, 3);
    let status = taro.get_until(&format!("{place}/status"), |reply| reply.body["state"] == "on_air").await;
    assert_eq!((&status.body["state"], &status.body["viewers"]), (&"on_air".into(), &3.into()), "{status:?}");
    assert_eq!(status.body["remaining_seconds"], 1800);
    let early = taro.post(&format!("{place}/extend"), &json!({ "slots": 1 })).await;
    assert_eq!((early.status, early.code()), (409, "extension-early"));
    let listing = server.anybody().get(&format!("/programs/{number}")).await;
    assert_eq!((listing.status, &listing.body["door"]), (200, &"OPEN".into()), "{listing:?}");

    server.set("2026-11-19T10:21:00Z");
    let longer = taro.post(&format!("{place}/extend"), &json!({ "slots": 1 })).await;
    assert_eq!(
        (longer.status, &longer.body["window"]["end"]),
        (200, &"2026-11-19T10:40:00Z".into()),
        "{longer:?}"
    );
    let ended = taro.post(&format!("{place}/end"), &json!({})).await;
    assert_eq!((ended.status, &ended.body["state"]), (200, &"finished".into()), "{ended:?}");
    server.set("2026-11-19T10:41:00Z");
    let is_settled = |reply: &Reply| reply.body["reservation"]["state"] != "finished";
    let seen = taro.get_until(&format!("{place}/history"), is_settled).await;
    let state = seen.body["reservation"]["state"].as_str().unwrap();
    assert!(matches!(state, "finished_charged" | "finished_waived"), "{seen:?}");
    assert!(seen.body["ledger"].as_array().unwrap().len() >= 2, "{seen:?}");
    let mine = taro.get("/me/channel").await;
    assert_eq!(mine.body["past"][0]["reservation"]["number"], number, "{mine:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_lives_by_http_alone_on_sqlite() {
    whole_life(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_lives_by_http_alone_on_postgresql() {
    whole_life(Database::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_slot_is_named_and_a_free_one_is_had() {
    let server = Server::start().await;
    server.sell(1).await;
    let (taro, hanako) = (server.premium("taro").await, server.premium("hanako").await);
    let first = taro.post("/reservations", &draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z")).await;
    assert_eq!(first.status, 201);
    let second = draft(1, "2026-11-19T10:20:00Z", "2026-11-19T10:50:00Z");
    let refused = hanako.post("/reservations", &second).await;
    assert_eq!((refused.status, refused.code()), (409, "slot-taken"));
    assert_eq!(refused.body["taken"], json!(["2026-11-19T10:20:00Z"]));
    let day = hanako.get("/days/2026-11-19?zone=UTC").await;
    assert_eq!(day.body["channels"][0]["taken"][0]["end"], "2026-11-19T10:30:00Z", "{day:?}");
    let number = first.body["number"].as_i64().unwrap();
    assert_eq!(hanako.get(&format!("/reservations/{number}")).await.status, 404);
    let cancelled = taro.post(&format!("/reservations/{number}/cancel"), &json!({})).await;
    assert_eq!(cancelled.body["state"], "cancelled_member", "{cancelled:?}");
    assert_eq!(hanako.post("/reservations", &second).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_the_step_that_comes_next() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let mut wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    wish["program"]["open_level"] = "password".into();
    wish["program"]["password"] = Value::Null;
    assert_eq!(taro.post("/reservations", &wish).await.fields(), ["program.password"]);
    wish["program"]["open_level"] = "Password".into();
    assert_eq!(taro.post("/reservations", &wish).await.fields(), ["program.open_level"]);
    wish["program"]["open_level"] = "public".into();
    let booked = taro.post("/reservations", &wish).await;
    let place = format!("/reservations/{}", booked.body["number"]);
    let next = async |step: &str, body: Value| {
        let reply = taro.post(&format!("{place}/{step}"), &body).await;
        assert_eq!(reply.code(), "wrong-state", "{reply:?}");
        reply.body["next"].as_str().unwrap().to_owned()
    };
    let id = json!({ "reservation_id": "0".repeat(26) });
    assert!(next("reconfirm", id.clone()).await.contains("accept-terms"));
    assert_eq!(taro.post(&format!("{place}/accept-terms"), &json!({})).await.status, 200);
    let status = next("end", json!({})).await;
    assert!(status.contains("/reconfirm") && status.contains("mail"), "{status}");
    assert_eq!(taro.post(&format!("{place}/cancel"), &json!({})).await.status, 200);
    assert!(next("reconfirm", id).await.contains("book again"));
    let token = taro.token(&["read", "book", "broadcast"]).await;
    let refused = token.put("/me/terminal-key", &json!({ "recipient": "age1" })).await;
    assert_eq!(refused.code(), "scope", "{refused:?}");
    assert!(refused.body["next"].as_str().unwrap().contains("POST /api/v1/session"), "{refused:?}");

    let mut browser = tokio::net::TcpStream::connect(server.address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 307") && answer.contains("location: /api/v1/docs\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn not_reconfirmed_in_time_is_told_exactly_that() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let booked = taro.post("/reservations", &draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z")).await;
    let number = booked.body["number"].as_i64().unwrap();
    let place = format!("/reservations/{number}");
    let accepted = taro.post(&format!("{place}/accept-terms"), &json!({})).await;
    assert_eq!(accepted.body["reconfirm_until"], "2026-11-19T04:00:00Z");
    server.set("2026-11-19T04:00:00Z");
    let id = server.mailed_id(number, 1).await;
    let late = taro.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": id })).await;
    assert_eq!((late.status, late.code()), (409, "reconfirmation-late"), "{late:?}");
    assert_eq!(late.body["until"], "2026-11-19T04:00:00Z");
    let is_free = |day: &Reply| day.body["channels"][0]["taken"] == json!([]);
    let day = server.anybody().get_until("/days/2026-11-19?zone=UTC", is_free).await;
    assert!(is_free(&day), "{day:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_special_program_needs_no_money_and_an_operator() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    let taro = server.premium("taro").await;
    assert_eq!(taro.post("/operator/programs", &wish).await.code(), "not-operator");
    let made = operator.post("/operator/programs", &wish).await;
    assert_eq!(
        (made.status, &made.body["state"], &made.body["total"]),
        (201, &"confirmed".into(), &0.into())
    );
    let number = made.body["number"].as_i64().unwrap();
    let picked = operator
        .put(&format!("/operator/pickups/{number}"), &json!({ "note": "See it.", "position": 1 }))
        .await;
    assert_eq!(picked.status, 204, "{picked:?}");
    let pickups = taro.get("/pickups").await;
    assert_eq!(pickups.body["items"][0]["program"]["number"], number, "{pickups:?}");
    assert_eq!(operator.delete(&format!("/operator/pickups/{number}")).await.status, 204);
    assert_eq!(operator.delete(&format!("/operator/pickups/{number}")).await.status, 404);
}
