// Package leylinepb holds the generated types of leyline.proto, the schema
// esper.leyline.v1 that every Esper process shares. Use package leyline to
// seal, open and judge messages; use these types to fill and read them.
package leylinepb
