//! Random lives through the real daemon: the laws hold whatever people write, in whatever order.

use crate::support::House;

/// Lives side by side, unless told, and how often the clock goes on.
const LIVES: u32 = 100;
const STEPS: u32 = 16;

/// Writes down who was in which state since when, and holds the cursor to what it is.
const WATCH: &str = "
    create table state_since (id uuid, at timestamptz, state text);
    create table edited (id uuid);
    create table swept (at timestamptz);
    create table foreseen (id uuid, n bigint, kind text, from_at timestamptz, until_at timestamptz, amount bigint,
        ask_at timestamptz);
    create function watch() returns trigger language plpgsql as $$
    begin
        -- Another plan now gives the rest of a period back.
        if tg_op = 'UPDATE' and new.settled_until < old.settled_until and not exists (
            select from billd.billing_cycle c where c.subscription_id = new.id and c.until_at = new.settled_until)
        then
            raise 'the cursor went back: % to %', old, new;
        end if;
        -- A planned resume acts as of its own time.
        if tg_op = 'INSERT' or old.state <> new.state then
            insert into state_since values (new.id, coalesce(case when new.state = 'active' then (
                select max(p.effective_at) from billd.planned_change p
                where p.subscription_id = new.id and p.kind = 'resume' and p.state = 'applied'
                  and p.effective_at > (select max(w.at) from state_since w where w.id = new.id)) end, billd.now()),
                new.state);
        end if;
        return null;
    end $$;
    create trigger a_watch after insert or update on billd.subscription for each row execute function watch()";

/// Dice that fall alike in every run: a number below one, of a life, a step and a purpose.
const DICE: &str = "
    create function dice(s billd.subscription, step int, purpose text) returns float8 language sql immutable as $$
        select ('x' || left(md5(concat_ws(' ', s.external_id, step, purpose)), 7))::bit(28)::int / 268435456.0
    $$;
    create function pick(s billd.subscription, step int, purpose text, choices text[]) returns text language sql as $$
        select choices[1 + floor(dice(s, step, purpose) * array_length(choices, 1))]
    $$";

const BORN: &str = "
    insert into billd.subscription (external_id, customer_uid, name, amount, time_zone, interval_unit, interval_count,
        catch_up, next_charge_at)
    select 'life-$DICE-' || n, case when n % 5 = 0 then 'decline-limit-once-' else 'card-' end || n, 'n', 9900,
        (array['Asia/Seoul', 'America/New_York', 'Australia/Lord_Howe', 'Europe/London'])[1 + n % 4],
        (array['day', 'week', 'month', 'month', 'year'])[1 + n % 5], 1 + n % 3,
        (array['all', 'latest', 'none'])[1 + n % 3], billd.now() + n % 40 * interval '17 hours'
    from generate_series(1, $LIVES) n";

/// What people write: how often, and what. `{}` is the step.
const WRITTEN: [(f64, &str); 13] = [
    (0.08, "state = 'paused'"),
    (0.25, "state = 'active'"),
    (0.02, "state = 'cancelled'"),
    (
        0.05,
        "state = 'active', customer_uid = 'card-' || external_id || '-' || {}",
    ),
    (
        0.04,
        "customer_uid = 'decline-stolen-' || external_id || '-' || {}",
    ),
    (
        0.05,
        "anchor_at = anchor_at + dice(s, {}, 'anchor') * interval '20 days'",
    ),
    (
        0.05,
        "billing_day = case when interval_unit in ('month', 'year') then 1 + floor(dice(s, {}, 'day') * 31) end",
    ),
    (
        0.05,
        "interval_unit = pick(s, {}, 'unit', '{{day,week,month,year}}'), interval_count = 1 + floor(dice(s, {}, 'n') * 3)",
    ),
    (
        0.05,
        "time_zone = pick(s, {}, 'zone', '{{Asia/Seoul,America/New_York,Australia/Lord_Howe,UTC}}')",
    ),
    (
        0.05,
        "amount = pick(s, {}, 'sum', '{{0,5000,9900,19900}}')::bigint",
    ),
    (
        0.04,
        "catch_up = pick(s, {}, 'missed', '{{all,latest,none}}')",
    ),
    (
        0.02,
        "state = 'active', next_charge_at = case when s.state = 'paused'
        then billd.now() + dice(s, {}, 'date') * interval '40 days' else s.next_charge_at end",
    ),
    (
        0.01,
        "ends_at = billd.now() + dice(s, {}, 'end') * interval '90 days'",
    ),
];

/// What people call: how often, and with what. `{}` is the step.
const CALLED: [(f64, &str, &str); 23] = [
    (0.03, "pause", ""),
    (
        0.03,
        "pause",
        "billd.now() + dice(s, {}, 'until') * interval '60 days'",
    ),
    (0.1, "resume", "'old_day'"),
    (0.02, "resume", "'now'"),
    (0.01, "cancel", "'end'"),
    (
        0.01,
        "cancel",
        "(billd.now() + dice(s, {}, 'end') * interval '60 days')::text",
    ),
    (0.05, "keep", "'free'"),
    (0.05, "keep", "'by_day'"),
    (0.01, "end_after", "4"),
    (
        0.03,
        "put_off",
        "s.due_at + dice(s, {}, 'later') * (s.until_at - s.due_at)",
    ),
    (0.04, "skip", "1 + floor(dice(s, {}, 'periods') * 2)::int"),
    (0.05, "renew_early", ""),
    (0.1, "retry_now", ""),
    (0.05, "forgive", ""),
    (
        0.03,
        "extend",
        "billd.now() + dice(s, {}, 'gift') * interval '50 days'",
    ),
    (
        0.1,
        "change_card",
        "'card-' || s.external_id || '-verb-' || {}",
    ),
    (0.05, "change_plan", "19900, at => 'now'"),
    (
        0.04,
        "change_plan",
        "pick(s, {}, 'price', '{{0,7000,12900}}')::bigint, pick(s, {}, 'unit', '{{week,month}}'), 2",
    ),
    (
        0.04,
        "change_plan",
        "15900, at => (billd.now() + dice(s, {}, 'when') * interval '90 days')::text",
    ),
    (
        0.03,
        "move_day",
        "day => 1 + floor(dice(s, {}, 'day') * 31)::int, short => 'by_day'",
    ),
    (0.04, "give_discount", "share => 0.25, periods => 2"),
    (0.03, "add_item", "'item', 2500"),
    (0.03, "give_credit", "13000"),
];

/// What the forecast says, before a sweep.
const FORESEE: &str = "
    truncate foreseen;
    insert into foreseen
    select s.id, f.n, f.kind, f.from_at, f.until_at, f.amount, f.ask_at
    from billd.subscription s, billd.forecast(s.id, 12)
        with ordinality f (kind, period, from_at, until_at, ask_at, amount, currency, made_of, remark, n)";

/// What was opened by the sweep was foreseen, to the instant and the sum.
const UNFORESEEN: &str = "
    select string_agg(concat_ws(' ', s.external_id, c.period, c.due_at, c.until_at, c.amount, c.state, (
        select string_agg(concat_ws(' ', f.kind, f.from_at, f.until_at, f.amount), ', ' order by f.n)
        from foreseen f where f.id = s.id and f.n < 5)), '; ')
    from billd.billing_cycle c
    join billd.subscription s on s.id = c.subscription_id
    where c.state <> 'void' and c.opened_at >= (select max(at) from swept) and not exists (
        select from foreseen f
        where (f.id, f.from_at, f.until_at, f.amount) = (s.id, c.due_at, c.until_at, c.amount))";

/// What was foreseen as the next to be asked for now was opened.
const NOT_OPENED: &str = "
    select string_agg(concat_ws(' ', s.external_id, s.state, f.kind, f.from_at, f.until_at, f.amount, s), '; ')
    from foreseen f
    join billd.subscription s on s.id = f.id
    where f.kind in ('charge', 'free') and f.ask_at <= (select max(at) from swept)
      and f.n = (select min(g.n) from foreseen g where g.id = f.id and g.kind in ('charge', 'free', 'debt'))
      and not exists (
        select from billd.billing_cycle c
        where (c.subscription_id, c.due_at, c.until_at, c.amount) = (f.id, f.from_at, f.until_at, f.amount))";

const SUMS: &str = "
    select string_agg(concat_ws(' ', c.subscription_id, c.period, c.amount, c.made_of), '; ') from billd.billing_cycle c
    where c.amount <> (select sum((l ->> 'sum')::bigint) from jsonb_array_elements(c.made_of) l)";

const TWICE: &str = "select string_agg(t::text, '; ') from billd.time_billed_twice t";

/// Every debt that is not void fell due while its subscription was active.
const OUT_OF_SERVICE: &str = "
    select string_agg(concat_ws(' ', s.external_id, c.period, c.state, c.due_at, c.opened_at, s.settled_until, (
        select string_agg(w.state || ' ' || w.at, ', ' order by w.at) from state_since w where w.id = s.id)), '; ')
    from billd.billing_cycle c
    join billd.subscription s on s.id = c.subscription_id
    where c.state <> 'void' and (
        select w.state from state_since w where w.id = s.id and w.at <= least(c.due_at, c.opened_at) order by w.at desc limit 1
    ) <> 'active'";

/// Where nobody moved the calendar, all time while it is in service is billed, passed over with a reason, or still to come.
const FORGOTTEN: &str = "
    select string_agg(concat_ws(' ', x.id, x.until_at, x.next, (
        select string_agg(concat_ws(' ', h.at, h.verb, h.note, h.after), ', ' order by h.id)
        from billd.history h where h.subscription_id = x.id), (
        select string_agg(concat_ws(' ', c.state, c.due_at, c.until_at, c.reason), ', ' order by c.due_at)
        from billd.billing_cycle c where c.subscription_id = x.id)), '; ')
    from (
        select s.id, c.until_at, lead(c.due_at, 1, case when s.state = 'active' then s.due_at else c.until_at end)
            over (partition by s.id order by c.due_at) as next
        from billd.billing_cycle c join billd.subscription s on s.id = c.subscription_id
        where c.period < s.period and s.id not in (select id from edited)
    ) x
    where x.next - x.until_at >= interval '1 day' and x.until_at < billd.now() - interval '1 day'";

const UNEXPLAINED: &str = "
    select string_agg(concat_ws(' ', c.subscription_id, c.period), '; ') from billd.billing_cycle c
    where c.state = 'void' and c.reason is null";

const PAID: &str = "
    select concat_ws(' ', count(*), coalesce(sum(amount), 0)) from billd.billing_cycle where state = 'paid'";

async fn one_step(house: &House, step: u32) {
    let book = &house.book;
    let pace = step * 5 % 7;
    let days = 1 + pace * pace;
    book.advance(&format!("{days} days 7 hours")).await;
    for (nth, (share, change)) in WRITTEN.iter().enumerate() {
        let change = change
            .replace("{}", &step.to_string())
            .replace("{{", "{")
            .replace("}}", "}");
        if change.contains("anchor")
            || change.contains("day")
            || change.contains("zone")
            || change.contains("unit")
        {
            book.run(&format!(
                "insert into edited select s.id from billd.subscription s where dice(s, {step}, '{nth}') < {share}"
            ))
            .await;
        }
        // Each by itself: what is refused is not done.
        book.run(&format!(
            "do $$
            declare s billd.subscription;
            begin
                for s in select * from billd.subscription t where dice(t, {step}, '{nth}') < {share} loop
                    begin
                        update billd.subscription t set {} where t.id = s.id;
                    exception when check_violation then null;
                    end;
                end loop;
            end $$",
            change.replace("state = 'active'", "state = case when s.state = 'past_due' or s.state = 'paused' then 'active' else s.state end")
        ))
        .await;
    }
    people_call(house, step).await;
    for _ in 0..2 {
        foreseen_sweep(house, step).await;
        book.advance("61 minutes").await;
    }
}

async fn people_call(house: &House, step: u32) {
    for (nth, (share, verb, arguments)) in CALLED.iter().enumerate() {
        let arguments = arguments
            .replace("{}", &step.to_string())
            .replace("{{", "{")
            .replace("}}", "}");
        let comma = if arguments.is_empty() { "" } else { ", " };
        let moves_days = matches!(
            *verb,
            "keep" | "move_day" | "extend" | "change_plan" | "cancel"
        );
        house
            .book
            .run(&format!(
                "do $$
                declare s billd.subscription;
                begin
                    for s in select * from billd.subscription t where dice(t, {step}, 'verb {nth}') < {share} loop
                        begin
                            perform billd.{verb}(s.id{comma}{arguments});
                            insert into edited select s.id where {moves_days};
                        exception when check_violation then null;
                        end;
                    end loop;
                end $$"
            ))
            .await;
    }
    house
        .book
        .run(&format!(
            "select billd.take_back(p.id) from billd.planned_change p
             where p.state = 'pending' and p.id % 10 = {}",
            step % 10
        ))
        .await;
}

/// A sweep, and what it opened is what the forecast said before it.
async fn foreseen_sweep(house: &House, step: u32) {
    let book = &house.book;
    book.run("insert into swept select billd.now()").await;
    book.run(FORESEE).await;
    house.sweep().await;
    for (law, query) in [("unforeseen", UNFORESEEN), ("not opened", NOT_OPENED)] {
        assert_eq!(book.text(query).await, "null", "{law}, step {step}");
    }
}

#[tokio::test]
async fn random_lives_are_billed_for_no_time_twice_and_for_none_out_of_service() {
    let house = House::new().await;
    let book = &house.book;
    book.run(WATCH).await;
    book.run(DICE).await;
    let (lives, dice) = super::lives(LIVES);
    let born = BORN.replace("$LIVES", &lives.to_string());
    book.run(&born.replace("$DICE", &dice.to_string())).await;
    for step in 1..=STEPS {
        one_step(&house, step).await;
        for (law, query) in [
            ("out of service", OUT_OF_SERVICE),
            ("forgotten", FORGOTTEN),
            ("unexplained", UNEXPLAINED),
            ("sums", SUMS),
            ("billed twice", TWICE),
        ] {
            assert_eq!(book.text(query).await, "null", "{law}, step {step}");
        }
    }
    let taken: Vec<i64> = house
        .sandbox
        .ledger()
        .iter()
        .map(|entry| entry.amount)
        .collect();
    let sum: i64 = taken.iter().sum();
    assert_eq!(book.text(PAID).await, format!("{} {sum}", taken.len()));
    assert!(
        taken.len() > 200,
        "lives in which little is charged prove little: {}",
        taken.len()
    );
}
