//! A reservation's whole life by HTTP alone, and the parts of it that go wrong.

use serde_json::{Value, json};
use slotcast_reservation_testing::{
    http::{Server, draft},
    whole_life::whole_life,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_lives_by_http_alone_on_sqlite() {
    whole_life(Server::start().await).await;
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
        (reply.body["next"].as_str().unwrap().to_owned(), reply.body["call"].clone())
    };
    let id = json!({ "reservation_id": "0".repeat(26) });
    let (text, call) = next("reconfirm", id.clone()).await;
    assert_eq!(
        (text.as_str(), &call),
        ("Accept the terms first.", &"POST /api/v1/reservations/{number}/accept-terms".into())
    );
    assert_eq!(taro.post(&format!("{place}/accept-terms"), &json!({})).await.status, 200);
    let (text, call) = next("end", json!({})).await;
    assert!(text.contains("mail") && call.as_str().unwrap().ends_with("/reconfirm"), "{text} {call}");
    assert_eq!(taro.post(&format!("{place}/cancel"), &json!({})).await.status, 200);
    assert!(next("reconfirm", id).await.0.contains("book again"));
    let token = taro.token(&["read", "book", "broadcast"]).await;
    let refused = token.put("/me/terminal-key", &json!({ "recipient": "age1" })).await;
    assert_eq!(refused.code(), "scope", "{refused:?}");
    assert_eq!(refused.body["call"], "POST /api/v1/session", "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn not_reconfirmed_in_time_is_told_exactly_that() {
    let server = Server::start().await;
    server.sell(1).await;
    let taro = server.premium("taro").await;
    let booked = taro.post("/reservations", &draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z")).await;
    let number = booked.body["number"].as_i64().unwrap();
    let place = format!("/reservations/{number}");
    let terms = server.anybody().get("/terms").await.body["sha256"].as_str().unwrap().to_owned();
    let others = format!("{place}/accept-terms?terms={}", "0".repeat(64));
    let changed = taro.post(&others, &json!({})).await;
    assert_eq!((changed.status, changed.code()), (409, "terms-changed"), "{changed:?}");
    let accepted = taro.post(&format!("{place}/accept-terms?terms={terms}"), &json!({})).await;
    assert_eq!(accepted.body["reconfirm_until"], "2026-11-19T04:00:00Z");
    let id = server.mailed_id(number, 1).await;
    server.set("2026-11-19T04:00:00Z");
    let late = taro.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": id })).await;
    assert_eq!((late.status, late.code()), (409, "reconfirmation-late"), "{late:?}");
    assert_eq!(late.body["until"], "2026-11-19T04:00:00Z");
    server.turn().await;
    let day = server.anybody().get("/days/2026-11-19?zone=UTC").await;
    assert_eq!(day.body["channels"][0]["taken"], json!([]), "{day:?}");
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

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_how_long_sound_may_wait() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let edit = async |gather: Value| {
        let version = server.anybody().get("/channels/1").await.header("ETag").unwrap().to_owned();
        let mut channel = json!({ "name": "channel1", "seats": 5, "bandwidth_class": 64_000, "toll": 1000 });
        if !gather.is_null() {
            channel["gather_ms"] = gather;
        }
        operator.with("If-Match", &version).put("/operator/channels/1", &channel).await
    };
    assert_eq!(server.anybody().get("/channels/1").await.body["gather_ms"], 20, "as for each new channel");
    for (gather, expected) in [(json!(0), 0), (json!(null), 0), (json!(100), 100)] {
        let reply = edit(gather).await;
        assert_eq!((reply.status, &reply.body["gather_ms"]), (200, &json!(expected)), "{reply:?}");
    }
    let refused = edit(json!(101)).await;
    assert_eq!((refused.status, refused.fields()), (422, vec!["gather_ms"]), "{refused:?}");
}
