//! Everything that a seed stands on, and everything that can be done to it: databases, the lines
//! between them and the daemons, and the daemons themselves. Nothing here plans or judges.
//!
//! Whatever is started here ends with the harness, also when that is killed outright: PostgreSQL by
//! its own watchdog, everything else by a [`Guard`].

mod bouncer;
mod clock;
mod daemon;
mod gateway_proxy;
mod guard;
mod interference;
mod lane;
mod proxy;
mod standby;

pub use self::bouncer::Bouncer;
pub use self::clock::Clock;
pub use self::daemon::{Daemon, Ended, Spec};
pub use self::gateway_proxy::{GatewayProxy, Twist};
pub use self::guard::{Guard, Watched};
pub use self::interference::{Crowd, OldSnapshot};
pub use self::lane::{COMMAND, Database, Lane, OPERATOR, daemon_role};
pub use self::proxy::{Alteration, Proxy};
pub use self::standby::Standby;
