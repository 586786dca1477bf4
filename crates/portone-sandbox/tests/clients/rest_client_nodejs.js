// Drives PortOne's own client for Node, `iamport-rest-client-nodejs`, against a sandbox.
//
// Usage: node rest_client_nodejs.js URL
"use strict";

const assert = require("node:assert/strict");
const { Iamport, Request } = require("iamport-rest-client-nodejs");

const [url] = process.argv.slice(2);
const { admin, later, moved, soon, step } = require("./steps")("iamport-rest-client-nodejs", url);
const { Authenticate, Customers, Payments, Subscribe } = Request;

const keys = { apiKey: "sandbox_key", apiSecret: "sandbox_secret" };
const iamport = new Iamport({ ...keys, baseUrl: url });
const call = async (request) => (await request.request(iamport)).data.response;
const card = { card_number: "4111-1111-1111-1111", expiry: "2099-12", birth: "900101" };
const order = (merchant_uid, amount, more) => ({ merchant_uid, amount, name: "monthly", ...more });

/** The answer that a refused call carries. */
const refused = async (request) => {
  const error = await request.request(iamport).then(
    () => assert.fail("was not refused"),
    (error) => error,
  );
  assert.ok(error.response, String(error));
  return { status: error.response.status, ...error.response.data };
};

(async () => {
  await step("token", async () => {
    const login = { imp_key: keys.apiKey, imp_secret: keys.apiSecret };
    const token = await call(Authenticate.getToken(login));
    assert.match(token.access_token, /^[0-9a-f]{40}$/);
    assert.ok(token.expired_at > token.now);
    const wrong = await refused(Authenticate.getToken({ ...login, imp_secret: "wrong" }));
    assert.equal(wrong.status, 401);
  });

  await step("issue a billing key", async () => {
    const key = await call(Customers.postBillingKey({ customer_uid: "c1", ...card }));
    assert.equal(key.customer_uid, "c1");
    assert.equal(key.card_number, "411111******1111");
    assert.ok(key.inserted instanceof Date);
  });

  await step("show one billing key, and several", async () => {
    assert.equal((await call(Customers.getBillingKey({ customer_uid: "c1" }))).customer_uid, "c1");
    const several = await call(Customers.getBillingKeys({ customer_uid: ["c1", "absent"] }));
    assert.deepEqual(several.map((key) => key.customer_uid), ["c1"]);
  });

  await step("onetime, which issues a key as well", async () => {
    const data = order("once1", 1000, { ...card, customer_uid: "c2" });
    const payment = await call(Subscribe.onetime(data));
    assert.equal(payment.status, "paid");
    assert.equal(payment.customer_uid_usage, "issue");
    await moved("once1", 1000);
  });

  await step("again", async () => {
    const payment = await call(Subscribe.again(order("again1", 9900, { customer_uid: "c1" })));
    assert.equal(payment.status, "paid");
    assert.equal(payment.amount, 9900);
    await moved("again1", 9900);
  });

  await step("again under a number that is paid is refused", async () => {
    const answer = await refused(Subscribe.again(order("again1", 9900, { customer_uid: "c1" })));
    assert.equal(answer.code, 1);
    await moved("again1", 9900);
  });

  await step("again that is declined", async () => {
    const data = order("again2", 9900, { customer_uid: "decline-balance" });
    const payment = await call(Subscribe.again(data));
    assert.equal(payment.status, "failed");
    assert.match(payment.fail_reason, /^\[1254\]/);
    assert.equal(payment.paid_at, 0);
    await moved("again2");
  });

  await step("schedule", async () => {
    const schedule_at = await soon();
    const schedules = [
      order("plan1", 500, { schedule_at }),
      order("plan2", 600, { schedule_at }),
    ];
    const made = await call(Subscribe.schedule({ customer_uid: "c1", schedules }));
    assert.deepEqual(made.map((one) => one.schedule_status), ["scheduled", "scheduled"]);
  });

  await step("show one reservation, and lists of them", async () => {
    const one = await call(Subscribe.getScheduled({ merchant_uid: "plan1" }));
    assert.equal(one.payment_status, null);
    const at = one.schedule_at.getTime() / 1000;
    const params = { customer_uid: "c1", from: at - 3600, to: at + 3600 };
    for (const request of [Subscribe.getScheduleds(params), Customers.getScheduleds(params)]) {
      const page = await call(request);
      assert.equal(page.total, 2);
      assert.equal(page.next, 0);
      assert.equal(page.list.length, 2);
    }
  });

  await step("unschedule", async () => {
    const data = { customer_uid: "c1", merchant_uid: ["plan2"] };
    const revoked = await call(Subscribe.unschedule(data));
    assert.deepEqual(revoked.map((one) => one.merchant_uid), ["plan2"]);
    await later();
    await moved("plan1", 500);
    await moved("plan2");
    assert.equal((await refused(Subscribe.unschedule(data))).code, 1);
  });

  await step("find by merchant_uid", async () => {
    // The client writes its status into the path, so that none is an empty text.
    for (const status of ["", "paid"]) {
      const find = { merchant_uid: "again1", status };
      assert.equal((await call(Payments.getByMerchantUid(find))).amount, 9900);
      const page = await call(Payments.getByMerchantUids(find));
      assert.deepEqual(page.list.map((payment) => payment.merchant_uid), ["again1"]);
    }
    const absent = await refused(Payments.getByMerchantUid({ merchant_uid: "absent", status: "" }));
    assert.equal(absent.status, 404);
  });

  await step("find by imp_uid, one and several", async () => {
    const { imp_uid } = await call(Payments.getByMerchantUid({ merchant_uid: "again1", status: "" }));
    // This client is older than the parameter that shows test payments.
    assert.equal((await refused(Payments.getByImpUid({ imp_uid }))).status, 404);
    await admin("switches", { test_payments_hidden: false });
    assert.equal((await call(Payments.getByImpUid({ imp_uid }))).merchant_uid, "again1");
    const several = await Payments.getByImpUids({ imp_uid: [imp_uid, "absent"] }).request(iamport);
    assert.equal(several.status, 207);
    assert.deepEqual(several.data.failed, ["absent"]);
  });

  await step("list by status and by customer", async () => {
    const paid = await call(Payments.getByStatus({ status: "paid", limit: 2, page: 1 }));
    assert.deepEqual([paid.total, paid.list.length, paid.next], [3, 2, 2]);
    const own = await call(Customers.getPayments({ customer_uid: "c1", page: 1 }));
    const numbers = own.list.map((payment) => payment.merchant_uid);
    assert.deepEqual(numbers.sort(), ["again1", "plan1"]);
  });

  await step("cancel a part, then the rest", async () => {
    const part = { merchant_uid: "again1", amount: 900, checksum: 9900, reason: "part" };
    assert.equal((await call(Payments.cancel(part))).cancel_amount, 900);
    // A second part with the old checksum is a repetition, and gives nothing back.
    assert.notEqual((await refused(Payments.cancel(part))).code, 0);
    const whole = await call(Payments.cancel({ merchant_uid: "again1", reason: "rest" }));
    assert.equal(whole.status, "cancelled");
    assert.equal(whole.cancel_amount, 9900);
    assert.deepEqual(whole.cancel_history.map((one) => one.amount), [900, 9000]);
    await moved("again1", 9900);
  });

  await step("delete a billing key", async () => {
    await call(Customers.deleteBillingKey({ customer_uid: "c1" }));
    const absent = await refused(Customers.getBillingKey({ customer_uid: "c1" }));
    assert.equal(absent.status, 404);
    const again = order("again3", 100, { customer_uid: "c1" });
    assert.equal((await refused(Subscribe.again(again))).code, 1);
    await moved("again3");
  });
})();
