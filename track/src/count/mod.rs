//! What is counted of tracked objects.

mod identities;
mod line;
mod recent;
mod trails;
mod zone;

use recent::Recent;

pub use identities::IdentityCounter;
pub use line::{Crossing, Crossings, LineCounter};
pub use trails::Trails;
pub use zone::{Presence, Zone, ZoneChange};
