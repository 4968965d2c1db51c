//! The slab: locked regions cut into slots, so that a secret costs nanoseconds and
//! not a system call.
//!
//! A region is cut into pages of 4 KiB; a page holds slots of one size, a power of
//! two from 32 bytes to 4 KiB, and returns to the free pages with its last slot.
//! What is free is recorded in ordinary memory: guarded pages hold secrets and
//! nothing that could lead an attacker from one to the next.

use std::ptr::NonNull;

use crate::mapping::Mapping;

/// The size of a slab page, whatever the kernel's is.
const PAGE: usize = 4096;
/// The smallest slot.
const MIN_SLOT: usize = 32;
/// The largest slot; larger values get a mapping of their own.
pub(crate) const MAX_SLOT: usize = PAGE;
/// Slot sizes: 32, 64, ... 4096.
const CLASSES: usize = 8;
/// The list of free pages, behind those of the classes.
const FREE: usize = CLASSES;
/// The most pages of a region (16 MiB).
const MAX_PAGES: usize = 1 << 12;

/// Names a page: the region's number and, in the low 12 bits, the page's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageId(u32);

impl PageId {
    /// The end of a list.
    const NONE: Self = Self(u32::MAX);

    #[allow(clippy::cast_possible_truncation, reason = "2^20 regions are beyond any memory")]
    fn new(region: usize, page: usize) -> Self {
        Self((region * MAX_PAGES + page) as u32)
    }

    fn region(self) -> usize {
        self.0 as usize / MAX_PAGES
    }

    fn page(self) -> usize {
        self.0 as usize % MAX_PAGES
    }
}

/// One page of slots.
#[derive(Debug, Clone)]
struct Page {
    /// A bit for each slot that is free; all zero in a free page.
    free: u128,
    /// The size class, or [`FREE`].
    class: usize,
    /// Neighbours in the list of pages of this class that have room, or in the
    /// list of free pages. A full page is in no list.
    previous: PageId,
    next: PageId,
}

#[derive(Debug)]
struct Region {
    mapping: Mapping,
    pages: Box<[Page]>,
    free_pages: usize,
}

/// The regions of one process.
#[derive(Debug)]
pub(crate) struct Slab {
    /// A vacant place keeps the numbers of the regions behind it.
    regions: Vec<Option<Region>>,
    /// For each class the first page with room; last, the first free page.
    heads: [PageId; CLASSES + 1],
    /// Bytes of the slots that are handed out.
    in_use: usize,
}

impl Slab {
    /// A slab without memory.
    pub(crate) const fn new() -> Self {
        Self { regions: Vec::new(), heads: [PageId::NONE; CLASSES + 1], in_use: 0 }
    }

    /// A slot for `len` bytes, 1 to [`MAX_SLOT`]: its page, address and size. `None`
    /// when the slab has no page left.
    pub(crate) fn take(&mut self, len: usize) -> Option<(PageId, NonNull<u8>, usize)> {
        let class = class_of(len);
        let mut id = self.heads[class];
        if id == PageId::NONE {
            id = self.heads[FREE];
            if id == PageId::NONE {
                return None;
            }
            self.unlink(id);
            if let Some(region) = &mut self.regions[id.region()] {
                region.free_pages -= 1;
                let page = &mut region.pages[id.page()];
                page.class = class;
                page.free = all_free(class);
            }
            self.link(id);
        }
        let size = MIN_SLOT << class;
        let region = self.regions[id.region()].as_mut()?;
        let page = &mut region.pages[id.page()];
        let slot = page.free.trailing_zeros() as usize;
        page.free &= page.free - 1;
        let full = page.free == 0;
        let start = region.mapping.at(id.page() * PAGE + slot * size);
        if full {
            self.unlink(id);
        }
        self.in_use += size;
        Some((id, start, size))
    }

    /// Takes the slot back. Its bytes are zero.
    pub(crate) fn give_back(&mut self, id: PageId, start: NonNull<u8>) {
        let Some(region) = &mut self.regions[id.region()] else { return };
        let page = &mut region.pages[id.page()];
        let size = MIN_SLOT << page.class;
        let offset = start.as_ptr().addr() - region.mapping.at(id.page() * PAGE).as_ptr().addr();
        let bit = 1u128 << (offset / size);
        debug_assert!(page.free & bit == 0, "a slot was given back twice");
        let was_full = page.free == 0;
        page.free |= bit;
        let is_free = page.free == all_free(page.class);
        self.in_use -= size;
        if is_free {
            if !was_full {
                self.unlink(id);
            }
            if let Some(region) = &mut self.regions[id.region()] {
                region.free_pages += 1;
                let page = &mut region.pages[id.page()];
                page.class = FREE;
                page.free = 0;
            }
            self.link(id);
        } else if was_full {
            self.link(id);
        }
    }

    /// Adds a mapping's pages to the free ones.
    pub(crate) fn add(&mut self, mapping: Mapping) {
        let count = (mapping.len() / PAGE).min(MAX_PAGES);
        let page = Page { free: 0, class: FREE, previous: PageId::NONE, next: PageId::NONE };
        let region = Region { mapping, pages: vec![page; count].into(), free_pages: count };
        let vacant = self.regions.iter().position(Option::is_none);
        let number = vacant.unwrap_or(self.regions.len());
        match self.regions.get_mut(number) {
            Some(place) => *place = Some(region),
            None => self.regions.push(Some(region)),
        }
        for page in (0..count).rev() {
            self.link(PageId::new(number, page));
        }
    }

    /// Removes a region that has only free pages.
    pub(crate) fn remove_unused(&mut self) -> Option<Mapping> {
        let number = self.regions.iter().position(|region| {
            region.as_ref().is_some_and(|region| region.free_pages == region.pages.len())
        })?;
        let count = self.regions[number].as_ref()?.pages.len();
        for page in 0..count {
            self.unlink(PageId::new(number, page));
        }
        self.regions[number].take().map(|region| region.mapping)
    }

    /// Bytes of the slots that are handed out.
    pub(crate) fn in_use(&self) -> usize {
        self.in_use
    }

    /// The number of regions.
    pub(crate) fn regions(&self) -> usize {
        self.regions.iter().flatten().count()
    }

    fn page(&mut self, id: PageId) -> Option<&mut Page> {
        self.regions.get_mut(id.region())?.as_mut()?.pages.get_mut(id.page())
    }

    /// Puts a page at the head of its class's list.
    fn link(&mut self, id: PageId) {
        let Some(class) = self.page(id).map(|page| page.class) else { return };
        let next = self.heads[class];
        if let Some(page) = self.page(id) {
            page.previous = PageId::NONE;
            page.next = next;
        }
        if let Some(next) = self.page(next) {
            next.previous = id;
        }
        self.heads[class] = id;
    }

    /// Takes a page out of its class's list.
    fn unlink(&mut self, id: PageId) {
        let Some(page) = self.page(id) else { return };
        let (class, previous, next) = (page.class, page.previous, page.next);
        match self.page(previous) {
            Some(previous) => previous.next = next,
            None => self.heads[class] = next,
        }
        if let Some(next) = self.page(next) {
            next.previous = previous;
        }
    }
}

/// The class of the smallest slot for `len` bytes.
fn class_of(len: usize) -> usize {
    let size = len.max(MIN_SLOT).next_power_of_two();
    (size.trailing_zeros() - MIN_SLOT.trailing_zeros()) as usize
}

/// The bits of a page in which every slot is free.
fn all_free(class: usize) -> u128 {
    let slots = PAGE / (MIN_SLOT << class);
    u128::MAX >> (128 - slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SecretMemory;

    fn slab(pages: usize) -> Slab {
        let mut slab = Slab::new();
        slab.add(Mapping::locked(pages * PAGE, SecretMemory::Never).ok().unwrap());
        slab
    }

    #[test]
    fn sizes_fall_into_the_smallest_class_that_holds_them() {
        for (len, size) in [(1, 32), (32, 32), (33, 64), (64, 64), (2049, 4096), (4096, 4096)] {
            assert_eq!(MIN_SLOT << class_of(len), size);
        }
        assert_eq!(class_of(MAX_SLOT), CLASSES - 1);
    }

    #[test]
    fn every_slot_of_a_page_is_used_once() {
        for class in 0..CLASSES {
            let size = MIN_SLOT << class;
            let mut slab = slab(1);
            let mut taken: Vec<_> = std::iter::from_fn(|| slab.take(size)).collect();
            assert_eq!(slab.in_use(), PAGE);
            taken.sort_by_key(|(_, start, _)| *start);
            assert_eq!(taken.len(), PAGE / size);
            let places: Vec<_> = taken.iter().map(|(_, start, _)| start.addr().get()).collect();
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] == size));
            assert_eq!(places[0] % PAGE, 0);

            let (page, start, _) = taken.swap_remove(taken.len() / 2);
            slab.give_back(page, start);
            assert_eq!(slab.take(size).map(|(_, again, _)| again), Some(start));
        }
    }

    #[test]
    fn an_empty_page_serves_another_class() {
        let mut slab = slab(2);
        let small: Vec<_> = std::iter::from_fn(|| slab.take(32)).collect();
        assert_eq!(small.len(), 2 * 128);
        assert!(slab.take(4096).is_none());
        for (page, start, _) in &small[..128] {
            slab.give_back(*page, *start);
        }
        assert!(slab.take(4096).is_some());
        assert!(slab.take(4096).is_none());
        assert!(slab.remove_unused().is_none());
    }

    #[test]
    fn a_region_without_values_can_be_removed() {
        let mut slab = slab(2);
        let kept = slab.take(100).unwrap();
        slab.add(Mapping::locked(4 * PAGE, SecretMemory::Never).ok().unwrap());
        assert_eq!(slab.regions(), 2);
        assert_eq!(slab.remove_unused().map(|mapping| mapping.len()), Some(4 * PAGE));
        assert!(slab.remove_unused().is_none());
        // What remains still works, and so does a region in the vacant place.
        assert!(slab.take(4096).is_some() && slab.take(4096).is_none());
        slab.add(Mapping::locked(PAGE, SecretMemory::Never).ok().unwrap());
        let (page, start, _) = slab.take(4096).unwrap();
        assert_eq!((page.region(), page.page()), (1, 0));
        slab.give_back(page, start);
        slab.give_back(kept.0, kept.1);
        assert_eq!(slab.remove_unused().map(|mapping| mapping.len()), Some(PAGE));
    }
}
