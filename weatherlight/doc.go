// Package weatherlight keeps the workers of a process up, and tells the world how
// they are.
//
// # Supervisor
//
// A [Supervisor] runs any number of workers, each a Run(ctx) error on one
// goroutine. What it promises:
//
//   - Workers are started in the order of [Spec.After], each when all it is after
//     are ready, and stopped in reverse order. If not all become ready in time,
//     what was started is stopped again.
//   - A worker that fails is restarted after a backoff of its own. No worker
//     waits for another one's backoff, failure, or slow end, unless it asked for
//     that: by After, or in a supervisor whose strategy is [OneForAll].
//   - A failure is an error, a panic or a [runtime.Goexit] while the worker's
//     context lives. When its context has ended, nothing that it returns is one:
//     what counts is what the supervisor did, not the kind of error.
//   - Every stop has a deadline. A goroutine cannot be ended from outside, so a
//     worker that is late is given up: it is named, with its stack, in a
//     [StopError], and counted for as long as it is there.
//   - Nothing of the user's is ever called on the supervisor's goroutine or with a
//     lock held; [Supervisor.Snapshot], [Supervisor.AppendWorkers] and
//     [Supervisor.Subscribe] may be used at any time, and never delay a worker.
//   - When [Supervisor.Run] has returned, no goroutine of it is left but those
//     that its error names, and one that the Logger holds up.
//
// Supervisors nest: one is a [Worker] of another, and snapshots, events and stop
// reports cover the tree. [Config].Logger has failures and restarts logged. Who
// wants to know more subscribes; a [Reporter] sends telemetry.
//
// # Reporter
//
// A [Reporter] publishes telemetry packets, through a small interface: health,
// figures of every [Source], the last failure and emergency signals of its own,
// and the packets that other subsystems hand over. Nothing that it is told waits
// for it: what cannot be published is kept, in queues of bounded length whose
// oldest packet is dropped, and counted, for one too many.
//
// # Tests
//
// Package weatherlighttest has workers that do what a test tells them, and a
// record of what has happened; in a bubble of [testing/synctest] a backoff of a
// minute costs nothing.
package weatherlight
