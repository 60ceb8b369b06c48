//! Prints the JSON Schema of the report: `cargo run -p adntn-compiler --example report_schema > compiler/report.schema.json`.
#![allow(clippy::print_stdout)]

fn main() {
    println!("{:#}", adntn_compiler::Report::schema());
}
