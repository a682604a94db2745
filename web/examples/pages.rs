//! Serves all pages with made-up members and programs, for those who work on their look.
//!
//! `cargo run -p slotcast-web --example pages -- 8080`, then <http://127.0.0.1:8080/> and `/operator/parts`. The clock stands
//! still, at 18:05 of a Wednesday in Tokyo. Log in as `hanako`, with the password that the first line shows.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use slotcast_reservation::{
    edge::{Edge, EdgeSettings},
    http,
};
use slotcast_reservation_testing::http::{Client, PASSWORD, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).map_or(Ok(8080), |port| port.parse())?;
    let server = Server::start().await;
    seed(&server).await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let base_url = format!("http://{}", listener.local_addr()?);
    println!("{base_url}/ — log in as hanako, with the password \"{PASSWORD}\"");
    let edge = Edge::new(server.service.clone(), EdgeSettings { base_url, trusted_proxies: Vec::new() });
    let pages = slotcast_web::router(edge.clone()).merge(http::router(edge));
    Ok(axum::serve(listener, pages.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

/// Programs as they are booked, accepted and reconfirmed.
async fn seed(server: &Server) {
    let operator = server.operator().await;
    for (number, seats, class, toll) in [
        (1, 5, 28_800, 1000),
        (2, 10, 28_800, 2000),
        (3, 15, 64_000, 3000),
        (4, 50, 64_000, 10_000),
        (5, 100, 64_000, 15_000),
        (6, 150, 64_000, 20_000),
        (7, 1000, 64_000, 50_000),
    ] {
        let name = format!("channel{number}");
        let channel = json!({ "name": name, "seats": seats, "bandwidth_class": class, "toll": toll });
        operator.put(&format!("/operator/channels/{number}"), &channel).await;
    }
    let hanako = server.premium("hanako").await;
    server.set("2026-11-18T00:05:00Z");
    for (channel, start, end, title, genre, level, viewers) in [
        (4, "08:40", "10:00", "Evening concert", "music", "public", Some(38)),
        (1, "09:00", "09:30", "祖母のお茶会", "family", "password", Some(5)),
        (5, "08:00", "11:00", "Regional chess final: Kobe against Sendai", "sport", "public", Some(61)),
        (7, "10:30", "12:00", "夜の港から", "nature", "public", None),
        (3, "11:00", "12:00", "Learn knots with a fisherman", "school", "public", None),
        (2, "12:10", "12:40", "Bedtime stories", "family", "password", None),
        (6, "13:00", "14:30", "市民オーケストラ公開練習", "music", "public", None),
    ] {
        let start = format!("2026-11-18T{start}:00Z");
        let end = format!("2026-11-18T{end}:00Z");
        let program = program(title, genre, level);
        let draft =
            json!({ "channel": channel, "window": { "start": start, "end": end }, "program": program });
        let number = booked(server, &hanako, &draft).await;
        if let Some(viewers) = viewers {
            server.on_air(number, viewers);
        }
        let pickup = json!({ "note": "Come early: the seats go fast.", "position": channel });
        if channel > 5 {
            operator.put(&format!("/operator/pickups/{number}"), &pickup).await;
        }
    }
    server.set("2026-11-18T09:05:00Z");
    server.turn().await;
}

fn program(title: &str, genre: &str, level: &str) -> Value {
    let mut program = json!({
        "title": title, "genre": genre, "open_level": level, "outline": "Live from Kyoto",
        "details": "A string quartet plays Haydn and Ravel from a living room in Kyoto. Afterwards there is tea.",
    });
    if level == "password" {
        program["password"] = json!("tea-time");
    }
    program
}

/// Books, accepts the terms and reconfirms; what comes back is the number.
async fn booked(server: &Server, member: &Client, draft: &Value) -> i64 {
    let booked = member.post("/reservations", draft).await;
    let number = booked.body["number"].as_i64().unwrap_or_else(|| panic!("{booked:?}"));
    member.post(&format!("/reservations/{number}/accept-terms"), &json!({})).await;
    let id = server.mailed_id(number, 1).await;
    let confirmed =
        member.post(&format!("/reservations/{number}/reconfirm"), &json!({ "reservation_id": id })).await;
    assert_eq!(confirmed.status, 200, "{confirmed:?}");
    number
}
