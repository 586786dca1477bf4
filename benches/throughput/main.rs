//! How fast billd is, and what it costs. `docs/PERFORMANCE.md` says what each figure means.

mod figure;
mod machine;
mod options;
mod process;
mod report;
mod scenarios;
mod window;
mod world;

use billd::terminal;
use clap::Parser;

use crate::machine::Machine;
use crate::options::Options;
use crate::report::Report;
use crate::scenarios::Scale;
use crate::world::World;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // The HTTP client needs it even where nothing is encrypted; a second installation is refused.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        tokio::select! {
            ended = run(&options) => ended,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                anyhow::bail!("interrupted; everything that was started is stopped")
            }
        }
    })
}

async fn run(options: &Options) -> anyhow::Result<()> {
    let scale = Scale::of(options);
    let mut world = World::start().await?;
    let (version, settings) = world.description().await?;
    let mut report = Report {
        machine: Machine::look(version, settings)?,
        quick: options.quick,
        sections: Vec::new(),
    };
    terminal::note(&report.machine.to_string());
    for scenario in options.scenarios() {
        let section = scenarios::measure(scenario, &mut world, scale).await?;
        report.sections.push(section);
        // After each, so that a run that is cut short has not been for nothing.
        if let Some(path) = &options.json {
            report.write(path)?;
        }
    }
    report.print();
    Ok(())
}
