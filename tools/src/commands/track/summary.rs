//! What a sequence held, at its end.

use std::collections::BTreeMap;

use ghostzoo::track::{LineCounter, Zone};
use serde_json::{Value, json};

use crate::output::{class_name, shown};

/// The counts of a sequence.
pub(crate) struct Summary<'a> {
    pub(super) label: &'a str,
    pub(super) frames: u64,
    pub(super) names: &'a [String],
    pub(super) identities: BTreeMap<usize, u64>,
    pub(super) lines: &'a [LineCounter],
    pub(super) zones: &'a [Zone],
}

impl Summary<'_> {
    /// For programs: one object, which has no `detections`.
    pub(crate) fn json(&self) -> Value {
        let class = |class_id: usize| class_name(self.names, class_id);
        let identities =
            self.identities.iter().map(|(id, count)| json!({"class_id": id, "class": class(*id), "count": count}));
        let mut summary =
            json!({"path": self.label, "frames": self.frames, "identities": identities.collect::<Vec<_>>()});
        let lines = self.lines.iter().map(|line| {
            let counts = line.counts().iter();
            let counts = counts
                .map(|(id, count)| json!({"class_id": id, "class": class(*id), "in": count.r#in, "out": count.out}));
            let total = line.total();
            json!({"line": line.line(), "in": total.r#in, "out": total.out, "classes": counts.collect::<Vec<_>>()})
        });
        let zones = self.zones.iter().map(|zone| {
            let counts = zone.presence().iter().map(|(id, presence)| {
                json!({
                    "class_id": id, "class": class(*id), "now": presence.now, "most": presence.most,
                    "entered": presence.entered, "frames": presence.frames,
                })
            });
            json!({"zone": zone.polygon(), "classes": counts.collect::<Vec<_>>()})
        });
        if !self.lines.is_empty() {
            summary["lines"] = lines.collect();
        }
        if !self.zones.is_empty() {
            summary["zones"] = zones.collect();
        }
        summary
    }

    /// For people: a line, and one more for each line and zone.
    pub(crate) fn lines(&self) -> Vec<String> {
        let count = |(id, count): (&usize, &u64)| {
            format!("{count} {}{}", shown(&class_name(self.names, *id)), if *count == 1 { "" } else { "s" })
        };
        let objects: Vec<String> = self.identities.iter().map(count).collect();
        let objects = if objects.is_empty() { "no objects".to_owned() } else { objects.join(", ") };
        let plural = if self.frames == 1 { "" } else { "s" };
        let mut lines = vec![format!("{}: {objects} in {} frame{plural}", shown(self.label), self.frames)];
        for (number, line) in (1..).zip(self.lines) {
            let total = line.total();
            lines.push(format!("  line {number}: {} in, {} out", total.r#in, total.out));
        }
        for (number, zone) in (1..).zip(self.zones) {
            let sum = |of: fn(&ghostzoo::track::Presence) -> u64| zone.presence().values().map(of).sum::<u64>();
            let (entered, now) = (sum(|presence| presence.entered), sum(|presence| presence.now as u64));
            lines.push(format!("  zone {number}: {entered} came in, {now} are in it at the end"));
        }
        lines
    }
}
