//! RTSP over memory: the wire's words, and servers and clients that are given bytes and moments.

mod client_pair;
mod oracle;
mod server_dialogues;
mod server_guard;
mod server_rules;
mod server_support;
mod server_table;
mod wire_hostile;
mod wire_properties;
mod wire_split;
