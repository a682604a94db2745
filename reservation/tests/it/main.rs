//! The reservation side over SQLite and in memory: needs nothing but Rust.

mod concepts;
mod http_calendar;
mod http_cards;
mod http_document;
mod http_life;
mod http_refunds;
mod http_security;
mod mail_post;
mod mail_text;
mod payments_cards;
mod payments_stripe;
mod rules_model;
mod rules_refunds;
mod service_books;
mod service_life;
mod service_mails;
mod service_outbox;
mod service_paying;
mod service_people;
mod service_proofs;
mod service_refunds;
mod service_trouble;
mod store_conformance;
mod store_postgres;
mod store_sqlite;
mod stripe;
