//! The reservation side beside what is to be installed: PostgreSQL, curl and jq, and from PyPI aiosmtpd, icalendar,
//! standardwebhooks and localstripe.

mod http_walk;
mod localstripe;
mod lost_commits;
mod mail_post;
mod mail_text;
mod payments_localstripe;
mod payments_stories;
mod python;
mod store_conformance;
mod store_postgres;
mod stories;
mod webhooks;
