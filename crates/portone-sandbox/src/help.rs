//! The text behind `--help`.

/// What the sandbox imitates, what a `customer_uid` can ask of it, and its admin API.
pub const HELP: &str = "\
A stateful PortOne V1 server for tests and staging. It moves no money.

BEHAVIOUR BY customer_uid
  Any customer_uid is approved, but for those that begin with one of these words. Followed by
  `-once` or `-twice`, only the first charge or the first two of that very customer_uid are hit,
  and every later one is approved: `decline-balance-once-42`.

  Refused, HTTP 200, code 0, status `failed`, in the words of KG Inicis:
  decline                   [1254] no balance
  decline-balance           [1254] no balance
  decline-limit             [1216] monthly limit
  decline-daily             [1202] daily limit
  decline-maintenance       [12E8] issuer under maintenance
  decline-outage            [12A8] issuer out of order
  decline-stolen            [1226] stolen or lost card
  decline-expired           [1204] expired card
  decline-stopped           [1201] stopped card
  decline-no-key            [1195] billing key unknown to the provider
  decline-password          [1221] too many wrong passwords
  decline-identity          [1251] identity does not match
  decline-call              [1299] call the card company
  decline-config            [1208] merchant not registered
  decline-merchant-limit    [12GL] merchant's monthly limit
  decline-request           [1213] wrong amount
  decline-name              [129998] a character that a product's name may not have
  decline-timeout           [1210] issuer timed out: proves nothing
  decline-duplicate         [550619] order number used before: proves nothing
  decline-other             [129999] other error
  decline-plain             [1254] no balance, in one pair of brackets
  decline-silent            a sentence without a code

  Refused with `response` null:
  decline-null              code -1, [2116] monthly limit
  decline-key-file          code -1, TX9301, the merchant's key file
  unknown-customer          code 1, no such customer

  Neither paid nor failed:
  pending                   status `ready`

  Broken answers; `before` moves no money, all others do:
  drop-before-approval      the connection breaks without an answer
  drop-after-approval
  error-before-approval     HTTP 500
  error-after-approval
  silent-before-approval    no answer, ever
  silent-after-approval
  cut-body                  the connection breaks in the middle of the answer
  garbage                   HTTP 200 with bytes that are no JSON
  wrong-amount              the answer speaks of twice the money
  wrong-merchant-uid        the answer speaks of another merchant_uid

TEST CARDS (for /subscribe/customers and onetime; any expiry that has not passed)
  4111-1111-1111-1111, and every other number of 14 to 16 digits, is approved.
  4000-0000-0000-0112 is not even registered, nor is a card whose expiry has passed.
  4000-0000-0000-.... registers; its charges then do what the word above says:
    1254  decline-balance
    1216  decline-limit
    1202  decline-daily
    1226  decline-stolen
    1204  decline-expired
    1201  decline-stopped
    1195  decline-no-key
    1221  decline-password
    1251  decline-identity
    1299  decline-call
    1208  decline-config
    1213  decline-request
    1210  decline-timeout
    2116  decline-null
    1200  decline-maintenance
  Only masked numbers are kept.

WEBHOOKS
  Unsigned, once, to the request's notice_url or else to the one the sandbox was started with: for
  approved charges, for reservations carried out (paid or failed), and for cancels that ask for
  one with enable_webhook. A refused `again` sends none.

ADMIN API (JSON, no token)
  GET    /sandbox/ledger?after=N&limit=M   every approval, in the order in which money moved
  GET    /sandbox/requests                 charges, look-ups and cancels as JSON lines, if they are kept
  GET    /sandbox/summary                  counters; merchant_uids_approved_twice must stay 0
  GET    /sandbox/fault                    faults that are set, and how often each has struck
  POST   /sandbox/fault                    sets one more
  DELETE /sandbox/fault                    clears all
  POST   /sandbox/tokens/expire            every access token is refused from now on
  GET    /sandbox/clock                    the sandbox's time
  POST   /sandbox/clock                    {\"advance_s\": 86400} moves it forward
  GET    /sandbox/switches                 what is not known of PortOne V1, see below
  POST   /sandbox/switches                 changes it; what is left out stays as it is
  POST   /sandbox/reset                    forgets everything

FAULTS
  {\"kind\": \"drop_after\", \"route\": \"again\", \"count\": 3, \"share\": 0.1, \"seed\": 7,
   \"customer_uid\": \"vip*\", \"for_s\": 600}; all but `kind` may be left out. `for_s` is how long it
  lasts by the sandbox's clock: a maintenance window, a look-up that lies for a while.
  Kinds that do nothing:        drop_before error_500_before silence_before status_429 status_401
                                maintenance
  Kinds that act, then spoil:   drop_after error_500_after silence_after cut_body garbage html empty
  Time:                         latency_ms with \"latency_ms\": 200 or {\"median\": 150, \"p99\": 2000}
  Look-ups:                     lookup_lag with \"lag_s\": 60 hides a record for a while,
                                lookup_not_found hides all, lookup_failed shows paid ones as failed
  Routes:                       getToken again onetime find findAll payment payments status cancel
                                customers customerPayments schedule unschedule retry

SWITCHES (what PortOne V1 does here is not known; the default is the careful one)
  failed_reusable           true    a merchant_uid that only failed may be charged again
  concurrent_charges        false   true charges two requests that run at once under one merchant_uid
  duplicate_http_status     200     under which HTTP status a taken merchant_uid is refused
  again_per_second_limit    null    how many again a second are served before HTTP 429
  null_declines_recorded    true    a refusal with `response` null leaves a record for look-ups
  refusals_recorded         false   true leaves a failed record of a refused, paid merchant_uid, too
  key_required              false   true refuses a customer_uid that no billing key was issued for
  failed_onetime_keeps_key  false   true stores the key of a `onetime` that was refused
  nightly_cancel            false   true turns the day's payments to `cancelled` at 23:30 in Korea
  partial_cancel_shows_cancelled
                            false   true shows a partly cancelled payment as `cancelled`
  schedule_lists_paged      true    lists of reservations are pages, as PortOne's own clients read
                                    them; false answers the bare array of the schema
  test_payments_hidden      true    /payments/{imp_uid} needs include_sandbox=true, as since 2026;
                                    false shows every payment, as before, to older clients
";
