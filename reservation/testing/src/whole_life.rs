//! A reservation's whole life by HTTP alone, for a server over any database.

use serde_json::{Value, json};

use crate::http::{Client, Server, draft};

/// A reservation is booked, accepted, confirmed, broadcast, ended early and settled.
pub async fn whole_life(server: Server) {
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
    server.turn().await;
    let status = taro.get(&format!("{place}/status")).await;
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
    server.turn().await;
    let seen = taro.get(&format!("{place}/history")).await;
    let state = seen.body["reservation"]["state"].as_str().unwrap();
    assert!(matches!(state, "finished_charged" | "finished_waived"), "{seen:?}");
    assert!(seen.body["ledger"].as_array().unwrap().len() >= 2, "{seen:?}");
    let mine = taro.get("/me/channel").await;
    assert_eq!(mine.body["past"][0]["reservation"]["number"], number, "{mine:?}");
}
