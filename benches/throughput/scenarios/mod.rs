//! What is measured: one module per row or two of the report.

mod charges;
mod claims;
mod gateway;
mod lag;
mod limits;
mod rate;
mod recovery;
mod soak;

use std::time::Duration;

use billd::terminal;

use crate::figure::Figure;
use crate::machine;
use crate::options::{Options, Scenario};
use crate::report::Section;
use crate::scenarios::soak::Pace;
use crate::world::{Order, Size, World};

/// What all scenarios go by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often each measurement is repeated.
    pub(crate) repeats: u8,
    /// Charges in flight, where the gateway answers at once.
    pub(crate) concurrency: u16,
    /// How long daemons run before they are watched.
    pub(crate) warm: Duration,
    /// How long they are watched.
    pub(crate) window: Duration,
    /// Everything is due: at one midnight, and at a million times of its own.
    pub(crate) midnight: Size,
    pub(crate) scattered: Size,
    /// A large book and a small one, for claims alone.
    pub(crate) large: Size,
    pub(crate) small: Size,
    /// How long a cap is watched, and how long arrivals go on.
    pub(crate) capped: Duration,
    pub(crate) arrivals: Duration,
    /// How long a soak takes.
    pub(crate) soak: Pace,
}

impl Scale {
    /// As asked for.
    pub(crate) fn of(options: &Options) -> Self {
        let all_due = |order, rows| Size {
            order,
            rows,
            due: rows,
        };
        let common = Self {
            repeats: options.repeats,
            concurrency: options.concurrency,
            warm: Duration::from_secs(3),
            window: Duration::from_secs(10),
            midnight: all_due(Order::Midnight, 1_000_000),
            scattered: all_due(Order::Scattered, 1_000_000),
            large: Size {
                order: Order::Scattered,
                rows: 10_000_000,
                due: 1_000_000,
            },
            small: all_due(Order::Scattered, 100_000),
            capped: Duration::from_mins(1),
            arrivals: Duration::from_secs(20),
            soak: Pace {
                months: 28,
                window: Duration::from_secs(55),
            },
        };
        if !options.quick {
            return common;
        }
        Self {
            repeats: 1,
            warm: Duration::from_secs(2),
            window: Duration::from_secs(2),
            midnight: all_due(Order::Midnight, 100_000),
            scattered: all_due(Order::Scattered, 100_000),
            large: Size {
                order: Order::Scattered,
                rows: 200_000,
                due: 20_000,
            },
            small: all_due(Order::Scattered, 20_000),
            capped: Duration::from_secs(10),
            arrivals: Duration::from_secs(5),
            soak: Pace {
                months: 3,
                window: Duration::from_secs(2),
            },
            ..common
        }
    }
}

/// Measures one scenario.
pub(crate) async fn measure(
    scenario: Scenario,
    world: &mut World,
    scale: Scale,
) -> anyhow::Result<Section> {
    terminal::note(&format!("{} …", scenario.word()));
    let load_before = machine::load()?;
    let (what, figures): (String, Vec<Figure>) = match scenario {
        Scenario::Charges => charges::measure(world, scale, scale.midnight).await?,
        Scenario::Scattered => charges::measure(world, scale, scale.scattered).await?,
        Scenario::Claims => claims::against_a_small_book(world, scale).await?,
        Scenario::Snapshot => claims::beside_an_old_snapshot(world, scale).await?,
        Scenario::Latency => gateway::slow(world, scale).await?,
        Scenario::Daemons => gateway::two_daemons(world, scale).await?,
        Scenario::Rate => rate::measure(world, scale).await?,
        Scenario::Lag => lag::measure(world, scale).await?,
        Scenario::Recovery => recovery::measure(world, scale).await?,
        Scenario::Soak => soak::measure(world, scale).await?,
    };
    Ok(Section {
        scenario: scenario.word(),
        what,
        load_before,
        figures,
    })
}
