//! `billd stop`, `billd start`, `billd adopt`.

use jiff::tz::TimeZone;
use serde_json::json;

use crate::app::confirm::confirm;
use crate::app::exit::{Exit, Failure};
use crate::app::services::{open_book, require_grants};
use crate::cli::{Adopt, Start, Stop};
use crate::settings::{Needs, Source};
use crate::terminal;

pub(super) async fn stop(source: &Source, stop: Stop) -> Result<Exit, Failure> {
    let store = open_book(source, Needs::Database).await?;
    let by = stop.by.as_deref();
    let stopped = store.stop_charging(&stop.why, stop.until, by).await;
    store.close().await;
    let stopped = stopped?;
    terminal::line(&if stop.output.json {
        json!({ "why": stopped.why, "by": stopped.stopped_by, "at": stopped.stopped_at, "until": stopped.until })
            .to_string()
    } else {
        let until = stopped.until.map_or_else(
            || "until `billd start`".to_owned(),
            |until| format!("until {}", until.to_zoned(TimeZone::system())),
        );
        format!("charging is switched off {until}: nothing is claimed, what is due waits")
    });
    Ok(Exit::Done)
}

pub(super) async fn start(source: &Source, start: Start) -> Result<Exit, Failure> {
    let store = open_book(source, Needs::Database).await?;
    let ended = store.start_charging(start.by.as_deref()).await;
    store.close().await;
    let ended = ended?;
    terminal::line(&if start.output.json {
        let why = ended.as_ref().map(|stop| &stop.why);
        let by = ended.as_ref().map(|stop| &stop.stopped_by);
        json!({ "was_off": ended.is_some(), "why": why, "stopped_by": by }).to_string()
    } else {
        match ended {
            Some(stop) => format!(
                "charging goes on; {} had stopped it: {}",
                stop.stopped_by, stop.why
            ),
            None => "charging was on".to_owned(),
        }
    });
    Ok(Exit::Done)
}

pub(super) async fn adopt(source: &Source, adopt: Adopt) -> Result<Exit, Failure> {
    let store = open_book(source, Needs::All).await?;
    require_grants(&store).await?;
    if let Some(standstill) = store.standstill().await? {
        terminal::note(&standstill.says);
    }
    confirm(
        "From now on this book is charged here, through the merchant account of these settings. Is every \
         daemon of the place before stopped?",
        adopt.yes,
    )?;
    let adopted = store.adopt(adopt.by.as_deref()).await;
    let still = store.standstill().await;
    store.close().await;
    adopted?;
    let still = still?.map(|still| still.says);
    terminal::line(&if adopt.output.json {
        json!({ "adopted": true, "charges": still.is_none(), "standstill": still }).to_string()
    } else {
        match still {
            Some(still) => format!("this is the book's home now; {still}"),
            None => "this is the book's home now, and it charges".to_owned(),
        }
    });
    Ok(Exit::Done)
}
