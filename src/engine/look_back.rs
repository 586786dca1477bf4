//! Law: look before asking again. A refusal was an answer, but the gateway's books may hold a payment all the
//! same. The first attempt of a debt pays nothing for this.

use std::sync::Arc;

use crate::causes::chain;
use crate::domain::attempt::{ChargeOutcome, Lookup, NotSent};
use crate::domain::claim::{Answer, Claim};
use crate::domain::dunning::Decision;
use crate::domain::ids::AttemptNo;
use crate::engine::context::Context;
use crate::engine::lease::Lease;
use crate::engine::report;
use crate::gateway::{Expected, Gateway};
use crate::store::Earlier;

/// Looks up once more what this debt was asked for before. `Err` says why it may not be asked for now.
pub(super) async fn look_back<G: Gateway>(
    context: &Context<G>,
    claim: &Claim,
    lease: Lease,
) -> Result<(), NotSent> {
    let Some(debt) = claim.key.debt else {
        return Ok(());
    };
    if claim.history.attempt_no == AttemptNo::FIRST {
        return Ok(());
    }
    let earlier = context
        .store
        .earlier_attempts(debt, &claim.key.merchant_uid)
        .await
        .map_err(|error| NotSent::NotLookedUp(chain(&error)))?;
    for one in earlier {
        if !lease.outlives(context.limits.call) {
            return Err(NotSent::LeaseTooShort);
        }
        look_up(context, &one).await?;
    }
    Ok(())
}

async fn look_up<G: Gateway>(context: &Context<G>, earlier: &Earlier) -> Result<(), NotSent> {
    let expected = Expected {
        merchant_uid: earlier.key.merchant_uid.clone(),
        customer_uid: earlier.customer_uid.clone(),
        money: earlier.money,
    };
    match context.gateway.look_up(&expected).await {
        Ok(Lookup::Failed { .. } | Lookup::NotFound) => Ok(()),
        Ok(Lookup::Unclear(doubt)) => Err(NotSent::NotLookedUp(doubt.detail)),
        Err(error) => Err(NotSent::NotLookedUp(chain(&error))),
        Ok(Lookup::Paid(payment)) => {
            let answer = Arc::new(Answer {
                key: earlier.key.clone(),
                outcome: Some(ChargeOutcome::Paid(payment)),
                decision: Decision::Advance,
                not_found: 0,
            });
            // A fact is written whatever the fence; the debt is closed by the re-plan that it asks for.
            let recorded = context.recorder.record(Arc::clone(&answer)).await;
            context.figures.answer(&answer, recorded);
            report::paid_before(&answer);
            Err(NotSent::PaidBefore(earlier.key.merchant_uid.to_string()))
        }
    }
}
