//! Where each map of a graph lies in the arena.

use std::collections::BTreeMap;

use super::graph::{Graph, Op, Value};
use crate::infer::{LINE, View};

/// Places of all maps.
pub(super) struct Places {
    /// By node: the map that it is a part of (itself for most) and its first channel in that.
    parent: Vec<(Value, usize)>,
    /// First element of each map that is no part of another.
    offsets: BTreeMap<Value, usize>,
    shapes: Vec<[usize; 3]>,
    /// Parts that could not be written in place: (concatenation, first channel, part).
    pub(super) copies: Vec<(Value, usize, Value)>,
    /// Elements of the arena.
    pub(super) arena: usize,
}

impl Places {
    /// Places the maps of the nodes in `order`. Parts of a concatenation are written where it needs them; maps that are
    /// never alive together share memory.
    pub(super) fn new(graph: &Graph, order: &[Value]) -> Self {
        let parent = (0..graph.nodes.len()).map(|index| (Value(index), 0)).collect();
        let shapes = graph.nodes.iter().map(|node| node.shape).collect();
        let mut places = Self { parent, offsets: BTreeMap::new(), shapes, copies: Vec::new(), arena: 0 };
        places.join(graph, order);
        places.allocate(graph, order);
        places
    }

    fn join(&mut self, graph: &Graph, order: &[Value]) {
        for value in order {
            match &graph.nodes[value.0].op {
                Op::Narrow { xs, start } => self.parent[value.0] = (*xs, *start),
                Op::Concat(parts) => {
                    let mut channel = 0;
                    for part in parts {
                        let is_own = self.parent[part.0].0 == *part;
                        if is_own && !matches!(graph.nodes[part.0].op, Op::Image) {
                            self.parent[part.0] = (*value, channel);
                        } else {
                            self.copies.push((*value, channel, *part));
                        }
                        channel += graph.nodes[part.0].shape[2];
                    }
                }
                _ => {}
            }
        }
    }

    /// The map that holds a value, and the value's first channel in it.
    pub(super) fn root(&self, value: Value) -> (Value, usize) {
        let (mut value, mut channel) = (value, 0);
        while self.parent[value.0].0 != value {
            channel += self.parent[value.0].1;
            value = self.parent[value.0].0;
        }
        (value, channel)
    }

    /// Gives each root a range of the arena that no other root uses between its first and its last step.
    fn allocate(&mut self, graph: &Graph, order: &[Value]) {
        let mut lives: BTreeMap<Value, [usize; 2]> = BTreeMap::new();
        let mut touch = |value: Value, step: usize| {
            let life = lives.entry(self.root(value).0).or_insert([step, step]);
            *life = [life[0].min(step), life[1].max(step)];
        };
        for (step, value) in order.iter().enumerate() {
            touch(*value, step);
            graph.nodes[value.0].op.inputs().into_iter().for_each(|input| touch(input, step));
            if let Op::Plain(conv) = graph.nodes[value.0].op {
                // Written by the convolution, which runs earlier.
                let written = order.iter().position(|other| *other == conv).unwrap_or(0);
                touch(*value, written);
            }
        }
        for output in &graph.outputs {
            output.inputs().into_iter().for_each(|input| touch(input, order.len()));
        }
        let len = |root: Value| self.shapes[root.0].iter().product::<usize>().next_multiple_of(LINE) + LINE;
        let mut roots: Vec<(Value, [usize; 2])> = lives.into_iter().collect();
        roots.sort_by_key(|(root, _)| std::cmp::Reverse(len(*root)));
        let mut placed: Vec<([usize; 2], [usize; 2])> = Vec::new();
        for (root, life) in roots {
            let together = |other: &[usize; 2]| other[0] <= life[1] && life[0] <= other[1];
            let mut taken: Vec<[usize; 2]> =
                placed.iter().filter(|(other, _)| together(other)).map(|(_, range)| *range).collect();
            taken.sort_unstable();
            let mut start = 0;
            for [from, to] in taken {
                if start + len(root) <= from {
                    break;
                }
                start = start.max(to);
            }
            placed.push((life, [start, start + len(root)]));
            self.arena = self.arena.max(start + len(root));
            self.offsets.insert(root, start);
        }
    }

    /// The place of a value.
    pub(super) fn view(&self, value: Value) -> View {
        let [height, width, channels] = self.shapes[value.0];
        self.part(value, 0, [height, width, channels])
    }

    /// The place of some channels of a value.
    pub(super) fn part(&self, value: Value, channel: usize, [height, width, channels]: [usize; 3]) -> View {
        let (root, first) = self.root(value);
        let offset = self.offsets.get(&root).copied().unwrap_or(0) + first + channel;
        View { offset, stride: self.shapes[root.0][2], height, width, channels }
    }
}
