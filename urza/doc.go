// Package urza is the artifact library: compiled kernels as files, and a
// catalogue that says which file belongs to which blueprint.
//
// What it promises:
//
//   - A crash at any point leaves the old version of an artifact or the new
//     one, whole, and a row that names the one that is there. What else a crash
//     leaves behind is found by [Library.Maintain].
//   - The catalogue file is shared with other processes, those of the Python
//     implementation included, all of them reading and writing at once. What
//     another process wrote is found: at once by the request that needs it, and
//     within [Config.RefreshInterval] by everything else.
//   - What this package does not know survives: unknown keys of a record keep
//     their text and their order when the record is saved.
//   - A request that is served from the index costs no SQL. A file is hashed
//     once and then recognised by its identity (device, inode, size,
//     modification and change time); whatever changes that has it hashed again.
//   - No path of a record leads out of the library root, which is the parent of
//     [Config.ArtifactDir].
//
// [Open] returns a [Library]. [Library.Add] stores an artifact with its record,
// [Library.Update] changes a record alone, [Library.Lookup] and [Library.List]
// read the index, [Library.Record] reads one whole record, and
// [Library.Resolve] returns an artifact that was verified. [Library.Answer]
// turns a prefetch request into its answer, and [PrefetchWorker] does so on the bus, with the
// counters of the contract. [Scrubber] reads every artifact again, slowly.
//
// The rows live in a [Catalogue]: [OpenSQLite] for the file that the fleets
// share, [NewMemory] for one process. Package urzatest holds the tests that an
// implementation of Catalogue has to pass.
//
// All types of this package are safe for concurrent use unless they say
// otherwise. A Library owns one goroutine, which [Library.Close] ends.
package urza
