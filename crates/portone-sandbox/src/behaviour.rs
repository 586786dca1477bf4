//! Behaviour on demand: what a `customer_uid` asks the sandbox to do with a charge.

use super::answer::Ending;

/// What the card does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Money moves.
    Approve,
    /// The provider refuses, in its own words: HTTP 200, code 0, a record `failed`.
    Decline(&'static str),
    /// The provider refuses and the answer holds no record: code -1, `response` null.
    DeclineNull(&'static str),
    /// The record stays `ready`: neither paid nor failed.
    Pending,
    /// Nobody knows this `customer_uid`.
    Unknown,
}

/// One line of the table.
#[derive(Debug)]
pub(super) struct Behaviour {
    /// How the `customer_uid` begins.
    pub(super) word: &'static str,
    pub(super) verdict: Verdict,
    pub(super) ending: Ending,
    /// False when the fault comes before the charge, so that no money moves.
    pub(super) charges: bool,
}

const fn card(word: &'static str, verdict: Verdict) -> Behaviour {
    Behaviour {
        word,
        verdict,
        ending: Ending::Answer,
        charges: true,
    }
}

const fn decline(word: &'static str, reason: &'static str) -> Behaviour {
    card(word, Verdict::Decline(reason))
}

const fn fault(word: &'static str, ending: Ending, charges: bool) -> Behaviour {
    Behaviour {
        word,
        verdict: Verdict::Approve,
        ending,
        charges,
    }
}

/// Every behaviour. A longer word stands before the shorter one it begins with.
pub(super) const BEHAVIOURS: &[Behaviour] = &[
    decline("decline-limit", "[1216][실시간빌링실패|월 사용한도 초과]"),
    decline("decline-daily", "[1202][실시간빌링실패|1일 사용금액초과]"),
    decline("decline-balance", "[1254][실시간빌링실패|잔액부족]"),
    decline("decline-stolen", "[1226][실시간빌링실패|도난, 분실카드]"),
    decline(
        "decline-expired",
        "[1204][실시간빌링실패|유효기간 만료(기간오류)]",
    ),
    decline(
        "decline-stopped",
        "[1201][실시간빌링실패|거래제한(정지)카드]",
    ),
    decline("decline-no-key", "[1195][실시간빌링실패|빌링 미등록 거래]"),
    decline(
        "decline-password",
        "[1221][실시간빌링실패|비밀번호 오류회수초과]",
    ),
    decline(
        "decline-identity",
        "[1251][실시간빌링실패|주민(사업자)번호 상이]",
    ),
    decline(
        "decline-maintenance",
        "[12E8][실시간빌링실패|참가기관 시스템 점검 중]",
    ),
    decline("decline-outage", "[12A8][실시간빌링실패|카드사 시스템장애]"),
    decline("decline-call", "[1299][실시간빌링실패|해당카드사 전화요망]"),
    decline("decline-config", "[1208][실시간빌링실패|미등록 가맹점]"),
    decline(
        "decline-merchant-limit",
        "[12GL][실시간빌링실패|가맹점 월간 승인 한도 초과]",
    ),
    decline("decline-request", "[1213][실시간빌링실패|금액 오류]"),
    decline(
        "decline-name",
        "[129998][실시간빌링실패|상품명에 사용 불가 문자가 있습니다]",
    ),
    decline(
        "decline-timeout",
        "[1210][실시간빌링실패|카드사 거래 TIMEOUT]",
    ),
    decline(
        "decline-duplicate",
        "[550619][실시간빌링실패|상점주문번호 중복 오류]",
    ),
    decline("decline-other", "[129999][실시간빌링실패|기타 오류]"),
    decline("decline-plain", "[1254]잔액부족"),
    decline("decline-silent", "결제승인에 실패하였습니다."),
    card(
        "decline-null",
        Verdict::DeclineNull("결제승인에 실패하였습니다. [2116]개인 월 한도금액 초과"),
    ),
    card(
        "decline-key-file",
        Verdict::DeclineNull("TX9301|상점개인키 로드오류"),
    ),
    decline("decline", "[1254][실시간빌링실패|잔액부족]"),
    card("unknown-customer", Verdict::Unknown),
    card("pending", Verdict::Pending),
    fault("drop-before-approval", Ending::Cut, false),
    fault("drop-after-approval", Ending::Cut, true),
    fault("error-before-approval", Ending::Error500, false),
    fault("error-after-approval", Ending::Error500, true),
    fault("silent-before-approval", Ending::Silence, false),
    fault("silent-after-approval", Ending::Silence, true),
    fault("cut-body", Ending::CutBody, true),
    fault("garbage", Ending::Garbage, true),
    fault("wrong-amount", Ending::WrongAmount, true),
    fault("wrong-merchant-uid", Ending::WrongMerchantUid, true),
];

/// Finds what a `customer_uid` asks for, and for how many of its first charges; `None` is for all.
pub(super) fn of(customer_uid: &str) -> Option<(&'static Behaviour, Option<u32>)> {
    let (behaviour, rest) = BEHAVIOURS.iter().find_map(|behaviour| {
        let rest = customer_uid.strip_prefix(behaviour.word)?;
        Some((behaviour, rest))
    })?;
    let first = match rest {
        rest if rest.starts_with("-once") => Some(1),
        rest if rest.starts_with("-twice") => Some(2),
        _ => None,
    };
    Some((behaviour, first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_finds_its_own_line_and_stands_in_the_help() {
        for behaviour in BEHAVIOURS {
            for (suffix, first) in [("", None), ("-once-7", Some(1)), ("-twice", Some(2))] {
                let (found, charges) = of(&format!("{}{suffix}", behaviour.word)).unwrap();
                assert_eq!((found.word, charges), (behaviour.word, first));
            }
            let listed = format!("  {}", behaviour.word);
            assert!(super::super::HELP.contains(&listed), "{listed}");
        }
        assert!(of("cust_1").is_none());
    }
}
