// Package supervisor compares weatherlight.Supervisor with suture v4, side by
// side: both in one process, on identical worker bodies, with hooks that do
// nothing, taking turns, so that what else the machine does hits both. [Compare]
// gives medians over the turns. A ratio below 1 means that ours needs less.
package supervisor
