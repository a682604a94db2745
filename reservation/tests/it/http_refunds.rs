//! Giving money back by HTTP: who may, how often, how much, and where it is seen.

use serde_json::json;
use slotcast_reservation_testing::http::{Client, Server, draft};

/// Of member taro, cancelled after the reconfirmation, so that all of its 3000 is billed. Returns its number.
async fn billed(server: &Server, taro: &Client) -> i64 {
    let wish = draft(1, "2026-11-19T10:00:00Z", "2026-11-19T10:30:00Z");
    let number = taro.post("/reservations", &wish).await.body["number"].as_i64().unwrap();
    let place = format!("/reservations/{number}");
    taro.post(&format!("{place}/accept-terms"), &json!({})).await;
    let id = server.mailed_id(number, 1).await;
    let confirmed = taro.post(&format!("{place}/reconfirm"), &json!({ "reservation_id": id })).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    let cancelled = taro.post(&format!("{place}/cancel"), &json!({})).await;
    assert_eq!(cancelled.body["state"], "cancelled_member", "{cancelled:?}");
    number
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_back_once_for_each_key_and_never_too_much() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let taro = server.premium("taro").await;
    let number = billed(&server, &taro).await;
    let place = format!("/operator/reservations/{number}/refund");
    let wish = json!({ "amount": 1000, "reason": "the sound was gone" });
    let key = |key| operator.with("idempotency-key", key);
    let early = key("early").post(&place, &wish).await;
    assert_eq!((early.status, early.code()), (409, "nothing-to-refund"), "{early:?}");
    assert_eq!(early.body["collecting"], 3000, "the charge is under way");
    server.turn().await;
    let first = key("one").post(&place, &wish).await;
    assert_eq!((first.status, &first.body["left"]), (202, &2000.into()), "{first:?}");
    assert_eq!(first.body["refunds"][0]["reason"], "the sound was gone");
    let again = key("one").post(&place, &wish).await;
    assert_eq!((again.status, &again.body["left"]), (202, &2000.into()), "{again:?}");
    assert_eq!(again.body["refunds"].as_array().unwrap().len(), 1);
    let other = json!({ "amount": 1001, "reason": "the sound was gone" });
    let reused = key("one").post(&place, &other).await;
    assert_eq!((reused.status, reused.code()), (409, "idempotency-key-reused"), "{reused:?}");

    let too_much = key("two").post(&place, &json!({ "amount": 2001, "reason": "r" })).await;
    assert_eq!((too_much.status, too_much.code()), (409, "refund-too-large"), "{too_much:?}");
    assert_eq!(too_much.body["left"], 2000);
    let rest = key("three").post(&place, &json!({ "reason": "all of it was bad" })).await;
    assert_eq!((rest.status, &rest.body["left"]), (202, &0.into()), "{rest:?}");
    assert_eq!(rest.body["refunds"][1]["amount"], 2000);
    let nothing = key("four").post(&place, &json!({ "reason": "r" })).await;
    assert_eq!((nothing.status, nothing.code()), (409, "nothing-to-refund"), "{nothing:?}");

    server.turn().await;
    let seen = taro.get(&format!("/reservations/{number}/history")).await;
    let entries = seen.body["ledger"].as_array().unwrap();
    assert_eq!(entries.iter().filter(|entry| entry["kind"] == "refunded").count(), 2, "{seen:?}");
    let csv = operator.get("/operator/ledger.csv").await;
    assert!(csv.text.contains(&format!(",refunded,{number},revenue,receivable:")), "{csv:?}");
    let shown = key("one").post(&place, &wish).await;
    assert_eq!(shown.body["refunds"][0]["state"], "done", "{shown:?}");
    let read = operator.get(&format!("/operator/reservations/{number}/refunds")).await;
    assert_eq!((read.status, &read.body), (200, &shown.body), "{read:?}");
    let without = operator.post(&place, &wish).await;
    assert_eq!((without.status, without.code()), (400, "bad-request"), "{without:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_an_operator_with_the_scope_gives_back_and_never_without_a_reason() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let taro = server.premium("taro").await;
    let number = billed(&server, &taro).await;
    let place = format!("/operator/reservations/{number}/refund");
    let wish = json!({ "reason": "r" });
    assert_eq!(server.anybody().post(&place, &wish).await.status, 401);
    assert_eq!(taro.post(&place, &wish).await.code(), "not-operator");
    assert_eq!(operator.token(&["read", "book"]).await.post(&place, &wish).await.code(), "scope");
    let operator = operator.with("idempotency-key", "one");
    for (wish, field) in [
        (json!({}), "reason"),
        (json!({ "reason": "" }), "reason"),
        (json!({ "reason": "two\nlines" }), "reason"),
        (json!({ "amount": 0, "reason": "r" }), "amount"),
        (json!({ "amount": -1, "reason": "r" }), "amount"),
        (json!({ "amount": 1.5, "reason": "r" }), "amount"),
        (json!({ "amount": 1_000_000_000_000_001_i64, "reason": "r" }), "amount"),
    ] {
        let wrong = operator.post(&place, &wish).await;
        assert_eq!((wrong.status, wrong.fields()), (422, vec![field]), "{wish} {wrong:?}");
    }
    let nobodys = operator.post("/operator/reservations/7/refund", &wish).await;
    assert_eq!((nobodys.status, nobodys.code()), (404, "not-found"), "{nobodys:?}");
    server.turn().await;
    let done = operator.token(&["ledger"]).await.with("idempotency-key", "one").post(&place, &wish).await;
    assert_eq!((done.status, &done.body["left"]), (202, &0.into()), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_list_payments_and_members_pay_what_is_owed() {
    let server = Server::start().await;
    let operator = server.sell(1).await;
    let taro = server.premium("taro").await;
    let number = billed(&server, &taro).await;
    let waiting = operator.get("/operator/payments?state=waiting").await;
    assert_eq!((waiting.status, &waiting.body["itemCount"]), (200, &1.into()), "{waiting:?}");
    let payment = &waiting.body["items"][0];
    assert_eq!(
        (&payment["kind"], &payment["reservation"], &payment["amount"], &payment["attempt"]),
        (&"capture".into(), &number.into(), &3000.into(), &1.into())
    );
    server.turn().await;
    let key = payment["key"].as_str().unwrap();
    let retried = operator.post(&format!("/operator/payments/{key}/retry"), &json!({})).await;
    assert_eq!((retried.status, &retried.body["state"]), (202, &"done".into()), "{retried:?}");
    assert_eq!(operator.get("/operator/payments?state=declined").await.body["itemCount"], 0);
    assert_eq!(operator.get("/operator/payments").await.status, 422);
    assert_eq!(operator.post("/operator/payments/none/retry", &json!({})).await.code(), "not-found");
    assert_eq!(taro.get("/operator/payments?state=declined").await.code(), "not-operator");
    let paid = taro.post(&format!("/reservations/{number}/pay"), &json!({})).await;
    assert_eq!((paid.status, &paid.body["state"]), (200, &"cancelled_member".into()), "{paid:?}");
    let hanako = server.premium("hanako").await;
    assert_eq!(hanako.post(&format!("/reservations/{number}/pay"), &json!({})).await.code(), "not-found");
}
