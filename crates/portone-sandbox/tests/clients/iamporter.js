// Drives the public client for Node `iamporter` against a sandbox.
//
// Usage: node iamporter.js URL
"use strict";

const assert = require("node:assert/strict");
const { Iamporter, IamporterError } = require("iamporter");

const [url] = process.argv.slice(2);
const { admin, moved, skip, step } = require("./steps")("iamporter", url);

const client = new Iamporter({ apiKey: "sandbox_key", secret: "sandbox_secret", host: url });
const card = { card_number: "4111-1111-1111-1111", expiry: "2099-12", birth: "900101" };
const order = (merchant_uid, amount, more) => ({ merchant_uid, amount, name: "monthly", ...more });

(async () => {
  await step("token", async () => {
    const { data } = await client.getToken();
    assert.match(data.access_token, /^[0-9a-f]{40}$/);
    await assert.rejects(client.getToken("sandbox_key", "wrong"), { status: 401 });
  });

  await step("issue a billing key", async () => {
    const { data } = await client.createSubscription({ customer_uid: "c1", ...card });
    assert.equal(data.card_number, "411111******1111");
  });

  await step("show a billing key", async () => {
    assert.equal((await client.getSubscription("c1")).data.customer_uid, "c1");
    // This client resolves what is not found.
    const absent = await client.getSubscription("absent");
    assert.deepEqual([absent.status, absent.raw.code], [404, 1]);
  });

  await step("onetime", async () => {
    const { data } = await client.payOnetime(order("once1", 1000, card));
    assert.equal(data.status, "paid");
    await moved("once1", 1000);
  });

  await step("again", async () => {
    const { data } = await client.paySubscription(order("again1", 9900, { customer_uid: "c1" }));
    assert.equal(data.status, "paid");
    await moved("again1", 9900);
  });

  await step("again under a number that is paid is refused", async () => {
    const again = client.paySubscription(order("again1", 9900, { customer_uid: "c1" }));
    await assert.rejects(again, (error) => error.raw.code === 1);
    await moved("again1", 9900);
  });

  await step("again that is declined", async () => {
    const data = order("again2", 9900, { customer_uid: "decline-balance" });
    const declined = { name: IamporterError.name, message: /^\[1254\]/ };
    await assert.rejects(client.paySubscription(data), declined);
    await moved("again2");
  });

  skip("schedule", "this client has no such call");
  skip("unschedule", "this client has no such call");

  await step("find by merchant_uid", async () => {
    assert.equal((await client.findByMerchantUid("again1")).data.amount, 9900);
    const { data } = await client.findAllByMerchantUid("again1");
    assert.deepEqual([data.total, data.next, data.list.length], [1, 0, 1]);
    const absent = await client.findByMerchantUid("absent");
    assert.deepEqual([absent.status, absent.data], [404, null]);
  });

  await step("find by imp_uid", async () => {
    const { imp_uid } = (await client.findByMerchantUid("again1")).data;
    // This client is older than the parameter that shows test payments.
    assert.equal((await client.findByImpUid(imp_uid)).status, 404);
    await admin("switches", { test_payments_hidden: false });
    assert.equal((await client.findByImpUid(imp_uid)).data.merchant_uid, "again1");
  });

  await step("list by status", async () => {
    const { data } = await client.findAllByStatus("paid", { limit: 1 });
    assert.deepEqual([data.total, data.next, data.list.length], [2, 2, 1]);
    await assert.rejects(client.findAllByStatus("done"), { status: 400 });
  });

  await step("cancel a part, then the rest", async () => {
    const part = { amount: 900, checksum: 9900, reason: "part" };
    const { data } = await client.cancelByMerchantUid("again1", part);
    assert.equal(data.cancel_amount, 900);
    const { data: whole } = await client.cancelByImpUid(data.imp_uid, { reason: "rest" });
    assert.deepEqual([whole.status, whole.cancel_amount], ["cancelled", 9900]);
    await assert.rejects(client.cancelByMerchantUid("absent"), (error) => error.raw.code === 1);
    await moved("again1", 9900);
  });

  await step("delete a billing key", async () => {
    await client.deleteSubscription("c1");
    assert.equal((await client.getSubscription("c1")).status, 404);
    const again = client.paySubscription(order("again3", 100, { customer_uid: "c1" }));
    await assert.rejects(again, (error) => error.raw.code === 1);
    await moved("again3");
  });
})();
