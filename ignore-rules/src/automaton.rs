//! Matching: a pattern as a small machine that reads a path once.
//!
//! All places of the pattern that the path may have reached are followed side by side, so no
//! pattern can make matching cost more than path length × pattern length.
//!
//! # Invariants
//! - `Split` and `Jump` only lead forward; repetition is inside [`Inst::Star`] and [`Inst::Deep`].
//! - Every program ends with [`Inst::Done`].

use memchr::memchr;

use crate::token::{SLASH, Token, first_token, upper};

/// One step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inst {
    /// Exactly this.
    Token(Token),
    /// Anything but a slash.
    One,
    /// A member of the set.
    Set(Box<Set>),
    /// Any run without a slash.
    Star,
    /// Any run.
    Deep,
    /// Goes on at both places.
    Split(usize, usize),
    /// Goes on elsewhere.
    Jump(usize),
    /// The whole pattern was read.
    Done,
}

/// A bracket expression. It never holds the slash.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Set {
    /// `[!...]`: whatever is not listed.
    pub(crate) negated: bool,
    /// Whether what is listed in upper case is meant in lower case too.
    pub(crate) fold: bool,
    /// Listed characters, both ends included.
    pub(crate) ranges: Vec<(Token, Token)>,
}

impl Set {
    fn holds(&self, token: Token) -> bool {
        if token == SLASH {
            return false;
        }
        let listed = self.lists(token) || (self.fold && self.lists(upper(token)));
        listed != self.negated
    }

    fn lists(&self, token: Token) -> bool {
        self.ranges.iter().any(|&(low, high)| (low..=high).contains(&token))
    }
}

/// How far a pattern reached into a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    /// No match.
    Nothing,
    /// A directory above the path matched.
    Above,
    /// The path matched.
    Whole,
}

/// A pattern ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    insts: Box<[Inst]>,
    /// For programs of up to 64 steps: for each, the set of those where reading goes on from it.
    closures: Option<Box<[u64]>>,
    /// Reads single bytes rather than characters, as git does.
    bytes: bool,
}

impl Program {
    /// Takes the steps of a pattern, without the closing [`Inst::Done`].
    pub(crate) fn new(mut insts: Vec<Inst>, bytes: bool) -> Self {
        insts.push(Inst::Done);
        Self { closures: closures(&insts), insts: insts.into(), bytes }
    }

    /// Tells whether the pattern matches the path or a directory above it. With `anywhere` it may
    /// begin at any name of the path, otherwise only at the first.
    pub(crate) fn hit(&self, path: &[u8], anywhere: bool) -> Hit {
        let mut run = Run::start(self);
        let mut at = 0;
        while at < path.len() {
            if run.is_dead() {
                match memchr(b'/', &path[at..]) {
                    Some(skip) if anywhere => at += skip,
                    Some(_) | None => return Hit::Nothing,
                }
            }
            let (token, width) = self.read(&path[at..]);
            if token == SLASH && run.is_done() {
                return Hit::Above;
            }
            run.step(token);
            if token == SLASH && anywhere {
                run.enter(0);
            }
            at += width;
        }
        if run.is_done() { Hit::Whole } else { Hit::Nothing }
    }

    /// Tells whether the pattern, begun at the first name, matches all of `path`.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        self.run_over(path).is_done()
    }

    /// Tells whether the pattern, begun at the first name, could match something below `dir`.
    pub(crate) fn may_match_below(&self, dir: &[u8]) -> bool {
        if self.hit(dir, false) != Hit::Nothing {
            return true;
        }
        let mut run = self.run_over(dir);
        run.step(SLASH);
        !run.is_dead()
    }

    fn run_over(&self, path: &[u8]) -> Run<'_> {
        let mut run = Run::start(self);
        let mut at = 0;
        while at < path.len() && !run.is_dead() {
            let (token, width) = self.read(&path[at..]);
            run.step(token);
            at += width;
        }
        run
    }

    fn read(&self, rest: &[u8]) -> (Token, usize) {
        if self.bytes { (Token::from(rest[0]), 1) } else { first_token(rest) }
    }
}

/// Computes for each step of a small program where reading goes on from it, the end included.
fn closures(insts: &[Inst]) -> Option<Box<[u64]>> {
    if insts.len() > 64 {
        return None;
    }
    let mut closures = vec![0; insts.len()].into_boxed_slice();
    // Backwards, as steps only lead forward.
    for at in (0..insts.len()).rev() {
        closures[at] = match &insts[at] {
            Inst::Token(_) | Inst::One | Inst::Set(_) | Inst::Done => 1 << at,
            Inst::Star | Inst::Deep => 1 << at | closures[at + 1],
            Inst::Split(one, other) => closures[*one] | closures[*other],
            Inst::Jump(to) => closures[*to],
        };
    }
    Some(closures)
}

/// Returns where a step leads when it reads `token`.
fn advance(inst: &Inst, at: usize, token: Token) -> Option<usize> {
    match inst {
        Inst::Token(wanted) => (*wanted == token).then_some(at + 1),
        Inst::One => (token != SLASH).then_some(at + 1),
        Inst::Set(set) => set.holds(token).then_some(at + 1),
        Inst::Star => (token != SLASH).then_some(at),
        Inst::Deep => Some(at),
        Inst::Split(..) | Inst::Jump(_) | Inst::Done => None,
    }
}

/// One reading of a path: all places of the program that have been reached.
enum Run<'a> {
    /// As the bits of a number.
    Few { insts: &'a [Inst], closures: &'a [u64], now: u64 },
    /// As a list.
    Many(Many<'a>),
}

impl<'a> Run<'a> {
    fn start(program: &'a Program) -> Self {
        let mut run = match &program.closures {
            Some(closures) => Self::Few { insts: &program.insts, closures, now: 0 },
            None => Self::Many(Many::new(&program.insts)),
        };
        run.enter(0);
        run
    }

    /// Whether the whole pattern was read.
    fn is_done(&self) -> bool {
        match self {
            Self::Few { insts, now, .. } => now >> (insts.len() - 1) != 0,
            Self::Many(many) => many.done,
        }
    }

    /// True when nothing more can be read unless the pattern begins anew.
    fn is_dead(&self) -> bool {
        match self {
            Self::Few { now, .. } => *now == 0,
            Self::Many(many) => many.now.is_empty() && !many.done,
        }
    }

    fn step(&mut self, token: Token) {
        match self {
            Self::Few { insts, closures, now } => {
                let mut before = std::mem::take(now);
                while before != 0 {
                    let at = before.trailing_zeros() as usize;
                    before &= before - 1;
                    if let Some(next) = advance(&insts[at], at, token) {
                        *now |= closures[next];
                    }
                }
            }
            Self::Many(many) => many.step(token),
        }
    }

    /// Adds a place.
    fn enter(&mut self, place: usize) {
        match self {
            Self::Few { closures, now, .. } => *now |= closures[place],
            Self::Many(many) => many.enter(place),
        }
    }
}

/// Places of a long program.
struct Many<'a> {
    insts: &'a [Inst],
    /// Steps that wait for the next character.
    now: Vec<usize>,
    /// The list that `now` is built from in each step.
    before: Vec<usize>,
    /// For each step of the program, the last round that entered it.
    entered: Vec<usize>,
    round: usize,
    /// Places still to be entered, within one call of `enter`.
    todo: Vec<usize>,
    done: bool,
}

impl<'a> Many<'a> {
    fn new(insts: &'a [Inst]) -> Self {
        let entered = vec![0; insts.len()];
        let (now, before, todo) = (Vec::new(), Vec::new(), Vec::new());
        Self { insts, now, before, entered, round: 1, todo, done: false }
    }

    fn step(&mut self, token: Token) {
        self.round += 1;
        self.done = false;
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.clear();
        for i in 0..self.before.len() {
            let at = self.before[i];
            if let Some(next) = advance(&self.insts[at], at, token) {
                self.enter(next);
            }
        }
    }

    /// Adds a place and all that are reached from it without reading.
    fn enter(&mut self, place: usize) {
        self.todo.push(place);
        while let Some(at) = self.todo.pop() {
            if self.entered[at] == self.round {
                continue;
            }
            self.entered[at] = self.round;
            match &self.insts[at] {
                Inst::Token(_) | Inst::One | Inst::Set(_) => self.now.push(at),
                Inst::Star | Inst::Deep => {
                    self.now.push(at);
                    self.todo.push(at + 1);
                }
                Inst::Split(one, other) => self.todo.extend([*one, *other]),
                Inst::Jump(to) => self.todo.push(*to),
                Inst::Done => self.done = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_programs_read_alike() {
        let tail = [Inst::Star, Inst::Token('b'.into()), Inst::Deep, Inst::Token('c'.into())];
        let head = [Inst::Split(1, 3), Inst::Token('a'.into()), Inst::Token(SLASH)];
        let short = Program::new([&head[..], &tail].concat(), false);
        let long = Program { closures: None, ..short.clone() };
        assert!(short.closures.is_some());
        for path in ["bc", "a/bc", "a/xb/c", "x/bc", "a", "", "a/bc/d", "d/a/bc"] {
            for anywhere in [false, true] {
                let path = path.as_bytes();
                assert_eq!(short.hit(path, anywhere), long.hit(path, anywhere), "{path:?}");
                assert_eq!(short.may_match_below(path), long.may_match_below(path), "{path:?}");
            }
        }
    }
}
