//! A package of its own, because cargo runs the tests of packages in the order of their names, and the lines that
//! say what was left out must be the last ones. See `tests/what_was_left_out.rs`.
