//! What the companies' words mean, for codes that no table holds.

use std::sync::LazyLock;

use regex::Regex;

use crate::domain::decline::DeclineClass;

/// The rules, in order: the first that matches wins.
///
/// What may hide a charge comes first, so that a time-out is never read as a limit. The merchant's
/// own faults come before the card's: "unregistered merchant" is no unregistered card, and "a character that the
/// product's name may not have" no card that may not be used.
const RULES: [(DeclineClass, &str); 11] = [
    (
        DeclineClass::Unclear,
        concat!(
            r"중복|DUP|등록건|(이미|기)\s?(승인|결제|처리|완료|주문|성공)|",
            r"TIME ?-?OUT|타임 ?아웃|시간 ?초과|무응답|지연|통신|네트워크|송신|",
            r"수신중|수신에|수신 ?(장애|오류|실패|에러)|전문수신|전송 ?(중|실패|에러)|",
            r"응답 ?(전문|코드|Data)|서버 응답|서버로부터|Late-?reply|망취소|",
            r"자동취소|진행 ?중|처리중|Exception|^DB |한도 누적|정상승인|",
            r"이중 ?(거래|참조)|취소되지|결제 성공|(KCP|PG) 시스템",
        ),
    ),
    (
        DeclineClass::Config,
        concat!(
            r"가맹점|쇼핑몰|하위몰|서브몰|단말기|CATID|PG업체|PG하위|MID|계약|업종|",
            r"업소|미등록 업무|사이트|매입사|빌링 (사용|개시|미사용)|자기매출|",
            r"상점(개인키|키| KEY|수수료|서버|아이디| 한도)|VAN관리|영중소|기준정보|",
            r"개시일",
        ),
    ),
    (
        DeclineClass::RowText,
        r"(상품|주문|구매자|주문자) ?(명|이름).*(문자|길이|자리|글자|초과|불가|금지|오류|byte)|상품 ?정보|금칙어|(good|goods|product) ?_?name",
    ),
    (DeclineClass::SoftFunds, r"할부.*한도"),
    (
        DeclineClass::Request,
        r"할부|통화코드|미만|원 이하|주문번호 없음|위변조거",
    ),
    (
        DeclineClass::HardAuth,
        concat!(
            r"비밀번호|주민|생년월일|사업자|본인인증|본인확인|인증서|인증필드|인증서비스|",
            r"인증불가카드사",
        ),
    ),
    (
        DeclineClass::SoftTemp,
        concat!(
            r"점검|작업|마감|장애|시스템|잠시|재시도|재거래|access error|",
            r"서비스 ?(제공)?시간|업무(종료|개시)|승인시간제한|Connect|요청 전문 수신",
        ),
    ),
    (
        DeclineClass::SoftFunds,
        concat!(
            r"한도|잔액부족|잔액|잔고|횟수|회수 ?초과|사용금액|승인가능금액|당일 거래승인|",
            r"funds",
        ),
    ),
    (
        DeclineClass::HardCard,
        concat!(
            r"등록되지 않은 (구매자|사용자)|등록된 (고객정보|정보)|분실|도난|정지|해지|",
            r"탈회|유효기|사용기간|만료|카드번호|미등록 ?카드|연체|사고|법적|불량|위규|",
            r"재발급|신규발급|수령|반송|회수카드|카드회수|미교부|불가 ?카드|거래 ?불가|",
            r"사용 ?불가|이용 ?불가|할인불가|빌키|빌링 ?(미등록|KEY)|허위|부정|위변조|",
            r"위,변조|조기경보|망실|발급|금지카드|등재|회원이 아님|카드 ?아님|계좌|타카드|",
            r"CVC|CVV|카드검증|제한|카드사용등록|사용등록|대상카드|Lost|Stolen|",
            r"Expired|Key_in",
        ),
    ),
    (DeclineClass::IssuerCall, r"전화|문의|거절|확인|issuer|연락"),
    (
        DeclineClass::Request,
        r"금액|형식|포맷|FORMAT|전문|누락|파라|오류|상이",
    ),
];

static COMPILED: LazyLock<[(DeclineClass, Regex); 11]> =
    LazyLock::new(|| RULES.map(|(class, rule)| (class, pattern(&format!("(?i){rule}")))));

/// The class of a company's message; `None` if no rule knows a word of it.
pub(super) fn class_of(pg_message: &str) -> Option<DeclineClass> {
    COMPILED
        .iter()
        .find(|(_, rule)| rule.is_match(pg_message))
        .map(|(class, _)| *class)
}

/// Compiles a constant pattern.
#[expect(
    clippy::expect_used,
    reason = "every pattern is a constant, and the tests compile it"
)]
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}
