use proptest::prelude::*;

use super::*;

#[test]
fn a_ladder_reads_back_from_its_text() {
    for text in ["", "1d,3d,5d,7d", "30s", "90m,36h", "90d"] {
        assert_eq!(ladder(text).to_string(), text);
    }
    assert_eq!(ladder(" 60s , 24h ").to_string(), "1m,1d");
}

#[test]
fn a_ladder_has_at_most_thirty_bounded_waits() {
    for text in "1 d 1w -1d +1d 1.5d 1d, , 1일 99999999999999999999s".split(' ') {
        assert!(
            matches!(Ladder::parse(text), Err(LadderError::Wait(_))),
            "{text}"
        );
    }
    assert_eq!(Ladder::parse("0s"), Err(LadderError::Bounds(0)));
    assert_eq!(Ladder::parse("91d"), Err(LadderError::Bounds(7_862_400)));
    assert!(Ladder::new(vec![DAY; 30]).is_ok());
    assert_eq!(Ladder::new(vec![DAY; 31]), Err(LadderError::TooLong(31)));
}

proptest! {
    #[test]
    fn a_ladders_text_is_faithful(waits in prop::collection::vec(1_u64..=7_776_000, 0..=30)) {
        let ladder = Ladder::new(waits.into_iter().map(Duration::from_secs).collect()).unwrap();
        prop_assert_eq!(Ladder::parse(&ladder.to_string()), Ok(ladder));
    }
}
