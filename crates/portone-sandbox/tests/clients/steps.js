// What the Node drivers share: steps that are told one a line, and the sandbox as its judge.
"use strict";

const assert = require("node:assert/strict");

/** The steps of one client against the sandbox at `url`. */
module.exports = (client, url) => {
  const admin = async (path, body) => {
    const init = body && {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    };
    const answer = await fetch(`${url}/sandbox/${path}`, init);
    assert.equal(answer.status, 200, path);
    return answer.json();
  };

  return {
    admin,

    /** Runs one step; a step that fails does not keep the next ones from being told. */
    async step(name, act) {
      try {
        await act();
        console.log(`pass  ${client}: ${name}`);
      } catch (error) {
        // Clients refuse in shapes of their own, not all of which are errors.
        const why = error.message || JSON.stringify(error.response?.data ?? error);
        console.log(`fail  ${client}: ${name}: ${why.replace(/\s+/g, " ")}`);
      }
    },

    /** Names a call that this client does not have. */
    skip(name, why) {
      console.log(`skip  ${client}: ${name}: ${why}`);
    },

    /** Fails unless the ledger holds these amounts for the number, and no others. */
    async moved(merchantUid, ...amounts) {
      const ledger = await admin("ledger");
      const own = ledger.filter((entry) => entry.merchant_uid === merchantUid);
      assert.deepEqual(own.map((entry) => entry.amount), amounts, `the ledger on ${merchantUid}`);
    },

    /** A second that lies ten minutes ahead by the sandbox's clock. */
    async soon() {
      return (await admin("clock")).now + 600;
    },

    /** Moves the sandbox's clock to just behind `soon`. */
    async later() {
      await admin("clock", { advance_s: 601 });
    },
  };
};
