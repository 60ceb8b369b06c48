//! The `adntn-compile` command.
fn main() {}
