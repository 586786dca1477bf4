#!/usr/bin/env python3
"""Holds every answer of a sandbox against PortOne's V1 schema (Swagger 2.0, JSON).

Usage: schema_check.py --schema PATH --sandbox URL

It drives every endpoint of the sandbox into every status that the schema lists for it, and a few
more. An answer must have the types, enumerations and lengths of its definition, every field of
it and no other. The schema marks nothing as nullable, though its words speak of null: null is
taken where a field is not required.

The sandbox must be fresh and is not fit for anything else afterwards.
"""

import argparse
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

TYPES = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}

CARD = {"card_number": "4111-1111-1111-1111", "expiry": "2099-12", "birth": "900101"}
REFUSED_CARD = {**CARD, "card_number": "4000-0000-0000-0112"}
OWNER = {
    "customer_id": "7",
    "customer_name": "홍길동",
    "customer_tel": "010-0000-0000",
    "customer_email": "buyer@example.com",
    "customer_addr": "서울",
    "customer_postcode": "04522",
}
BUYER = {
    "buyer_name": "홍길동",
    "buyer_email": "buyer@example.com",
    "buyer_tel": "010-0000-0000",
    "buyer_addr": "서울",
    "buyer_postcode": "04522",
    "custom_data": '{"plan":"monthly"}',
}

PAYMENT = "/payments/{imp_uid}"
FIND = "/payments/find/{merchant_uid}/{payment_status}"
FIND_ALL = "/payments/findAll/{merchant_uid}/{payment_status}"
STATUS = "/payments/status/{payment_status}"
KEYS = "/subscribe/customers"
KEY = "/subscribe/customers/{customer_uid}"
KEY_PAYMENTS = KEY + "/payments"
AGAIN = "/subscribe/payments/again"
ONETIME = "/subscribe/payments/onetime"
PLANS = "/subscribe/payments/schedule"
PLAN = PLANS + "/{merchant_uid}"
UNSCHEDULE = "/subscribe/payments/unschedule"
PLAN_LISTS = [PLANS, PLANS + "/customers/{customer_uid}", KEY + "/schedules"]

ENDPOINTS = [
    ("POST", "/users/getToken"),
    ("POST", AGAIN),
    ("POST", ONETIME),
    ("GET", PAYMENT),
    ("GET", "/payments"),
    ("GET", FIND),
    ("GET", FIND_ALL),
    ("GET", STATUS),
    ("POST", "/payments/cancel"),
    ("GET", KEYS),
    ("GET", KEY),
    ("POST", KEY),
    ("DELETE", KEY),
    ("GET", KEY_PAYMENTS),
    ("GET", KEY + "/schedules"),
    ("GET", PLANS),
    ("POST", PLANS),
    ("GET", PLANS + "/customers/{customer_uid}"),
    ("POST", UNSCHEDULE),
    ("GET", PLAN),
    ("PUT", PLAN),
    ("POST", PLAN + "/reschedule"),
    ("POST", PLAN + "/retry"),
]


class Schema:
    """What an answer must look like."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.root = json.load(file)
        self.definitions = self.root["definitions"]

    def statuses(self, method, template):
        """The statuses that are listed for an operation, with what is said of each."""
        return self.root["paths"][template][method.lower()]["responses"]

    def flat(self, schema):
        """A schema without `$ref` and `allOf`."""
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/definitions/")
            return self.flat(self.definitions[name])
        if "allOf" not in schema:
            return schema
        whole = {"properties": {}, "required": []}
        for part in map(self.flat, schema["allOf"]):
            whole["properties"].update(part.get("properties", {}))
            whole["required"] += part.get("required", [])
        return whole

    def alternatives(self, schema):
        """The definitions that an answer may follow.

        This schema spells a choice as an object whose properties bear the names of definitions.
        """
        properties = schema.get("properties", {})
        if properties and all(
            value.get("$ref") == f"#/definitions/{name}" for name, value in properties.items()
        ):
            return list(properties.values())
        return [schema]

    def faults(self, value, schema, where="body"):
        """Every way in which a value deviates from its schema."""
        schema = self.flat(schema)
        kind = schema.get("type") or ("object" if "properties" in schema else None)
        if kind and not TYPES[kind](value):
            return [f"{where} is {value!r} instead of {kind}"]
        faults = []
        if kind == "object":
            faults += self.object_faults(value, schema, where)
        elif kind == "array":
            for nth, item in enumerate(value):
                faults += self.faults(item, schema["items"], f"{where}[{nth}]")
        longest = schema.get("maxLength")
        # Some lengths are written as texts.
        if longest is not None and isinstance(value, str) and len(value) > int(longest):
            faults.append(f"{where} is longer than {longest}")
        words = schema.get("enum") or described_words(schema)
        if words and str(value) not in map(str, words):
            faults.append(f"{where} is {value!r}, which is none of {words}")
        return faults

    def object_faults(self, value, schema, where):
        faults = []
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        for name in value.keys() - properties.keys():
            faults.append(f"{where}.{name} is not in the schema")
        for name, inner in properties.items():
            if name not in value:
                faults.append(f"{where}.{name} is missing")
            elif value[name] is None:
                if name in required and not inner.get("x-nullable"):
                    faults.append(f"{where}.{name} is required and null")
            else:
                faults += self.faults(value[name], inner, f"{where}.{name}")
        return faults


def described_words(schema):
    """The values that a description lists, which this schema does in place of `enum`."""
    items = re.findall(r"<li>\s*([\w.]+)\s*:", schema.get("description", ""))
    return [item for item in items if item != "null"]


class Check:
    """Requests to a sandbox, each answer held against the schema."""

    def __init__(self, schema, url):
        self.schema = schema
        self.url = url
        self.token = None
        self.seen = set()
        self.checked = 0
        self.faulty = 0

    def send(self, method, path, body=None, form=False):
        headers = {}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        data = None
        if body is not None:
            kind = "x-www-form-urlencoded" if form else "json"
            headers["content-type"] = f"application/{kind}"
            data = (urllib.parse.urlencode(body) if form else json.dumps(body)).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read()

    def admin(self, path, body=None, method=None):
        status, answer = self.send(method or ("POST" if body else "GET"), f"/sandbox/{path}", body)
        if status != 200:
            sys.exit(f"/sandbox/{path} answered {status}")
        return json.loads(answer) if answer else None

    def ask(self, wanted, what, method, template, body=None, form=False, page_of=None, **parts):
        """Makes one request and tells what became of it; gives back `response`.

        `wanted` is the status that must come. `parts` fill the template; what is left of them is
        the query. `page_of` is a definition that the answer must be a page of.
        """
        path = template
        for name in re.findall(r"{(\w+)}", template):
            path = path.replace(f"{{{name}}}", urllib.parse.quote(parts.pop(name), safe=""))
        path = path.rstrip("/")
        if parts:
            path += "?" + urllib.parse.urlencode(parts, doseq=True)
        status, raw = self.send(method, path, body, form)
        self.seen.add((method, template, status))
        listed = self.schema.statuses(method, template)
        faults, answer = [], None
        if status != wanted:
            faults.append(f"the status is {status} instead of {wanted}: {raw[:200]!r}")
        try:
            answer = json.loads(raw)
        except ValueError:
            faults.append(f"the body is no JSON: {raw[:200]!r}")
        else:
            expected = listed.get(str(status), {}).get("schema")
            faults += self.answer_faults(answer, expected, page_of)
        note = "" if str(status) in listed else ", a status that the schema does not list"
        self.tell(f"{method} {template} {status}: {what}{note}", faults)
        return answer.get("response") if isinstance(answer, dict) else None

    def answer_faults(self, answer, expected, page_of):
        envelope = self.schema.definitions["ResponseAnnotation"]
        if isinstance(answer, dict) and answer.get("code") != 0:
            # A refusal: the envelope, a sentence, and nothing in it.
            refusal = {key: value for key, value in answer.items() if key != "response"}
            faults = self.schema.faults(refusal, envelope)
            if answer.get("response", "") is not None:
                faults.append("a refusal has a response that is not null")
            if not answer.get("message"):
                faults.append("a refusal has no message")
            return faults
        if expected is None:
            return ["the code is 0 under a status that the schema gives no answer to"]
        if page_of:
            page = self.schema.definitions["PagedPaymentAnnotation"]
            items = {"type": "array", "items": {"$ref": f"#/definitions/{page_of}"}}
            properties = {**page["properties"], "list": items}
            response = {"required": page["required"], "properties": properties}
            expected = {"allOf": [envelope, {"properties": {"response": response}}]}
        choices = self.schema.alternatives(expected)
        return min((self.schema.faults(answer, choice) for choice in choices), key=len)

    def tell(self, line, faults):
        self.checked += 1
        self.faulty += bool(faults)
        for fault in faults or [None]:
            word = "fail" if fault else "pass"
            print(f"{word}  schema: {line}" + (f": {fault}" if fault else ""), flush=True)


def order(merchant_uid, **more):
    return {"merchant_uid": merchant_uid, "amount": 9900, "name": "monthly", **more}


def log_in(check):
    path = "/users/getToken"
    keys = {"imp_key": "sandbox_key", "imp_secret": "sandbox_secret"}
    wrong = {**keys, "imp_secret": "wrong"}
    check.ask(401, "a wrong secret", "POST", path, wrong)
    check.ask(400, "no secret", "POST", path, {"imp_key": "sandbox_key"})
    check.ask(200, "as a form", "POST", path, keys, form=True)
    check.token = check.ask(200, "a token", "POST", path, keys)["access_token"]


def keys(check):
    uid = {"customer_uid": "c1"}
    check.ask(200, "a key is issued", "POST", KEY, {**CARD, **OWNER}, **uid)
    check.ask(200, "a key is replaced, as a form", "POST", KEY, CARD, form=True, **uid)
    check.ask(200, "a card is refused", "POST", KEY, REFUSED_CARD, **uid)
    check.ask(400, "no card", "POST", KEY, OWNER, **uid)
    check.ask(200, "a key", "GET", KEY, **uid)
    check.ask(404, "no such key", "GET", KEY, customer_uid="absent")
    check.ask(200, "another is issued", "POST", KEY, {**CARD, **OWNER}, customer_uid="c2")
    several = {"customer_uid[]": ["c1", "c2"]}
    check.ask(200, "all keys of a batch", "GET", KEYS, **several)
    check.ask(207, "some keys of a batch", "GET", KEYS, **{"customer_uid[]": ["c1", "absent"]})
    check.ask(404, "no key of a batch", "GET", KEYS, **{"customer_uid[]": ["absent"]})
    check.ask(400, "an empty batch", "GET", KEYS)
    check.ask(200, "a key is deleted", "DELETE", KEY, customer_uid="c2", reason="moved")
    check.ask(404, "no such key", "DELETE", KEY, customer_uid="c2")


def charges(check):
    again = order("again1", customer_uid="c1", **BUYER)
    paid = check.ask(200, "approved", "POST", AGAIN, again)
    check.ask(200, "a taken number", "POST", AGAIN, again)
    form = order("again2", customer_uid="c1", **BUYER)
    check.ask(200, "approved, as a form", "POST", AGAIN, form, form=True)
    cents = order("again3", customer_uid="c1", currency="USD") | {"amount": 9.99}
    check.ask(200, "approved, with cents", "POST", AGAIN, cents)
    for word in ("decline-balance", "decline-silent", "decline-null", "pending", "c2"):
        check.ask(200, f"{word}", "POST", AGAIN, order(f"again-{word}", customer_uid=word))
    for word in ("wrong-amount", "wrong-merchant-uid"):
        check.ask(200, f"{word}", "POST", AGAIN, order(word, customer_uid=word))
    check.ask(400, "no amount", "POST", AGAIN, {"customer_uid": "c1", "merchant_uid": "m"})
    check.ask(200, "approved", "POST", ONETIME, order("once1", **CARD, **BUYER))
    with_key = order("once2", customer_uid="c3", **CARD, **BUYER)
    check.ask(200, "approved, with a key", "POST", ONETIME, with_key)
    declined = CARD | {"card_number": "4000-0000-0000-1254"}
    check.ask(200, "declined", "POST", ONETIME, order("once3", **declined))
    check.ask(200, "a card is refused", "POST", ONETIME, order("once4", **REFUSED_CARD))
    check.ask(400, "no card", "POST", ONETIME, order("once5"))
    return paid["imp_uid"]


def look_ups(check, imp_uid):
    check.ask(200, "a payment", "GET", PAYMENT, imp_uid=imp_uid, include_sandbox="true")
    check.ask(404, "a test payment is hidden", "GET", PAYMENT, imp_uid=imp_uid)
    check.ask(404, "no such payment", "GET", PAYMENT, imp_uid="absent", include_sandbox="true")
    both = {"imp_uid[]": [imp_uid], "merchant_uid[]": ["once1"]}
    check.ask(200, "all payments of a batch", "GET", "/payments", **both)
    some = {"imp_uid[]": [imp_uid, "absent"]}
    check.ask(207, "some payments of a batch", "GET", "/payments", **some)
    check.ask(404, "no payment of a batch", "GET", "/payments", **{"imp_uid[]": ["absent"]})
    check.ask(400, "an empty batch", "GET", "/payments")
    for template in (FIND, FIND_ALL):
        for uid, status in (("again1", ""), ("again1", "paid"), ("again-pending", "ready")):
            parts = {"merchant_uid": uid, "payment_status": status}
            check.ask(200, f"found {status or 'in any state'}", "GET", template, **parts)
        failed = {"merchant_uid": "again-decline-balance", "payment_status": "failed"}
        check.ask(200, "found failed", "GET", template, sorting="paid", **failed)
        absent = {"merchant_uid": "absent", "payment_status": ""}
        check.ask(404, "no such payment", "GET", template, **absent)
        wrong = {"merchant_uid": "again1", "payment_status": "done"}
        check.ask(400, "no such status", "GET", template, **wrong)
    for status in ("all", "ready", "paid", "cancelled", "failed"):
        check.ask(200, status, "GET", STATUS, payment_status=status)
    for page in (1, 2, 3):
        paging = {"page": page, "limit": 4, "sorting": "-updated"}
        check.ask(200, f"page {page}", "GET", STATUS, payment_status="all", **paging)
    check.ask(400, "a page behind the last", "GET", STATUS, payment_status="all", page=99)
    check.ask(400, "no such status", "GET", STATUS, payment_status="done")
    check.ask(400, "too long a window", "GET", STATUS, payment_status="all", **{"from": 0})
    check.ask(200, "a history", "GET", KEY_PAYMENTS, customer_uid="c1", page=1)
    check.ask(400, "a page behind the last", "GET", KEY_PAYMENTS, customer_uid="c1", page=99)
    check.ask(404, "no such key", "GET", KEY_PAYMENTS, customer_uid="absent")


def cancels(check, imp_uid):
    path = "/payments/cancel"
    part = {"imp_uid": imp_uid, "amount": 900, "checksum": 9900, "reason": "part"}
    check.ask(200, "a part", "POST", path, part)
    check.ask(200, "a wrong checksum", "POST", path, part)
    check.ask(200, "the rest, as a form", "POST", path, {"imp_uid": imp_uid}, form=True)
    check.ask(200, "nothing is left", "POST", path, {"imp_uid": imp_uid})
    check.ask(200, "no such payment", "POST", path, {"merchant_uid": "absent"})
    check.ask(400, "no number", "POST", path, {"reason": "none"})
    cancelled = {"merchant_uid": "again1", "payment_status": "cancelled"}
    check.ask(200, "found cancelled", "GET", FIND, **cancelled)
    check.ask(200, "cancelled, not empty", "GET", STATUS, payment_status="cancelled")


def reservations(check):
    now = check.admin("clock")["now"]
    plan = {"schedule_at": now + 600, "amount": 500, "name": "monthly", **BUYER}
    plans = [{"merchant_uid": f"plan{nth}", **plan} for nth in (1, 2, 3)]
    wanted = {"customer_uid": "c1", "schedules": plans}
    check.ask(200, "reserved", "POST", PLANS, wanted)
    check.ask(200, "a taken number", "POST", PLANS, wanted)
    check.ask(200, "no such key", "POST", PLANS, {**wanted, "customer_uid": "c2"})
    check.ask(400, "no reservation", "POST", PLANS, {"customer_uid": "c1"})
    form = {f"schedules[0][{name}]": value for name, value in plan.items()}
    form |= {"customer_uid": "decline-balance", "schedules[0][merchant_uid]": "plan4"}
    check.ask(200, "reserved, as a form", "POST", PLANS, form, form=True)
    check.ask(200, "waiting", "GET", PLAN, merchant_uid="plan1")
    check.ask(404, "no such reservation", "GET", PLAN, merchant_uid="absent")
    later = {"schedule_at": now + 700}
    check.ask(200, "moved", "PUT", PLAN, later, merchant_uid="plan1")
    check.ask(400, "into the past", "PUT", PLAN, {"schedule_at": 1}, merchant_uid="plan1")
    check.ask(404, "no such reservation", "PUT", PLAN, later, merchant_uid="absent")
    revoke = {"customer_uid": "c1", "merchant_uid": ["plan2"]}
    check.ask(200, "revoked", "POST", UNSCHEDULE, revoke)
    check.ask(200, "nothing to revoke", "POST", UNSCHEDULE, revoke)
    check.ask(400, "no customer_uid", "POST", UNSCHEDULE, {"reason": "none"})
    check.ask(200, "revoked", "GET", PLAN, merchant_uid="plan2")
    check.admin("clock", {"advance_s": 800})
    check.ask(200, "carried out", "GET", PLAN, merchant_uid="plan1")
    check.ask(200, "carried out in vain", "GET", PLAN, merchant_uid="plan4")
    for action in ("/reschedule", "/retry"):
        path, later = PLAN + action, {"schedule_at": now + 1600}
        check.ask(404, "no such reservation", "POST", path, later, merchant_uid="absent")
        check.ask(400, "paid already", "POST", path, later, merchant_uid="plan1")
        check.ask(200, "another chance", "POST", path, later, merchant_uid="plan4")
        # The first chance must be over before the next kind is asked for.
        check.admin("clock", {"advance_s": 900})


def lists(check):
    now = check.admin("clock")["now"]
    day = 24 * 60 * 60
    for template in PLAN_LISTS:
        names = ["schedule_from", "schedule_to", "schedule_status"]
        parts = {}
        if template != PLANS:
            names = ["from", "to", "schedule-status"]
            parts["customer_uid"] = "c1"
        window = dict(zip(names, (now - day, now + day))) | parts
        pages = {"page_of": "ScheduleResultAnnotation", **window}
        check.ask(200, "a page, as PortOne's clients read it", "GET", template, **pages)
        revoked = {names[2]: "revoked", **pages}
        check.ask(200, "a page of the revoked", "GET", template, **revoked)
        check.admin("switches", {"schedule_lists_paged": False})
        check.ask(200, "a list, as the schema names it", "GET", template, **window)
        check.admin("switches", {"schedule_lists_paged": True})
        check.ask(400, "no window", "GET", template, **parts)
        check.ask(400, "too long a window", "GET", template, **window | {names[0]: 0})
        check.ask(400, "a page behind the last", "GET", template, page=99, **window)
        check.ask(400, "no such status", "GET", template, **window | {names[2]: "done"})


def refusals(check):
    """What every endpoint answers without a token and, where it is listed, when PortOne fails."""
    for method, template in ENDPOINTS:
        parts = {name: "x" for name in re.findall(r"{(\w+)}", template)}
        body = {"schedule_at": 1} if method in ("POST", "PUT") else None
        if "500" in check.schema.statuses(method, template):
            check.admin("fault", {"kind": "error_500_before", "count": 1})
            check.ask(500, "PortOne fails", method, template, body, **parts)
        if template != "/users/getToken":
            token, check.token = check.token, None
            check.ask(401, "no token", method, template, body, **parts)
            check.token = token


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--schema", required=True, metavar="PATH")
    arguments.add_argument("--sandbox", required=True, metavar="URL")
    given = arguments.parse_args()
    check = Check(Schema(given.schema), given.sandbox.rstrip("/"))
    log_in(check)
    keys(check)
    imp_uid = charges(check)
    look_ups(check, imp_uid)
    cancels(check, imp_uid)
    reservations(check)
    # The clock was moved behind the life of the first token.
    log_in(check)
    lists(check)
    refusals(check)
    for method, template in ENDPOINTS:
        for status in check.schema.statuses(method, template):
            if (method, template, int(status)) not in check.seen:
                print(f"skip  schema: {method} {template} {status}: never provoked")
    print(f"{check.checked} answers checked, {check.faulty} with faults")
    sys.exit(1 if check.faulty else 0)


if __name__ == "__main__":
    main()
