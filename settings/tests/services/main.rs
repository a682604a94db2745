//! Settings files beside the `age` tool.

mod age_tool;
