//! The process: parse, load, hand over, exit code.

fn main() {}
