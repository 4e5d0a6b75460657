package report

// Results is everything that a run of the bench measured: its JSON document.
type Results struct {
	Machine Machine `json:"machine"`

	Rounds     int                 `json:"rounds"`
	Throughput map[string][]Rate   `json:"throughput,omitempty"` // by workload
	Latency    map[string][]Delays `json:"latency,omitempty"`    // by workload
	Counts     []Count             `json:"counts,omitempty"`
	Scaling    []Scaling           `json:"scaling,omitempty"`
	Binary     *Binary             `json:"binary,omitempty"`
	Spent      []Spent             `json:"where_the_time_goes,omitempty"`
	Aims       []Aim               `json:"aims,omitempty"`
}

// Machine is where it was measured.
type Machine struct {
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	Redis string `json:"redis"`
	// Load1 is the load average of a minute when the bench began: what else
	// was running.
	Load1 float64 `json:"load_1m"`
}

// Rate is the throughput of one contender, medians over the rounds. Ratios are
// medians of the ratios within a round, so that what disturbs a whole round
// cancels out.
type Rate struct {
	Name        string  `json:"name"`
	PerSecond   float64 `json:"prefetches_per_s"`
	VsFloor     float64 `json:"vs_floor,omitempty"`
	VsFloorPlus float64 `json:"vs_floor_plus,omitempty"`
	// VsPeers compares with each Go peer.
	VsPeers map[string]float64 `json:"vs_peers,omitempty"`
	// CPUVsFloor compares CPU time of all processes per prefetch: floor's
	// divided by this one's. Other load on the machine disturbs it less.
	CPUVsFloor     float64 `json:"cpu_vs_floor,omitempty"`
	CPUVsFloorPlus float64 `json:"cpu_vs_floor_plus,omitempty"`
	ServiceCPU     float64 `json:"service_cpu_s_per_million"`
	PublisherCPU   float64 `json:"publisher_cpu_s_per_million"`
	RedisCPU       float64 `json:"redis_cpu_s_per_million"`
	FollowerCPU    float64 `json:"follower_cpu_s_per_million,omitempty"`
	Allocs         float64 `json:"service_allocs_per_prefetch"`
	Bytes          float64 `json:"service_bytes_per_prefetch"`
	GCs            float64 `json:"service_gcs_per_million"`
	Resident       int64   `json:"service_resident_bytes"`
	// RedisTime is how long Redis was busy with each command, in µs per
	// prefetch. The time of a script includes that of its commands.
	RedisTime map[string]float64 `json:"redis_us_by_command"`
	Rounds    []float64          `json:"rounds_per_s"`
}

// Delays are quantiles of how long a prefetch takes, in ms, medians over the
// rounds.
type Delays struct {
	Name       string  `json:"name"`
	PerSecond  float64 `json:"at_per_s,omitempty"`
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Most       float64 `json:"max_ms"`
	P50VsFloor float64 `json:"p50_vs_floor,omitempty"`
	P99VsFloor float64 `json:"p99_vs_floor,omitempty"`
}

// Count is what one prefetch costs in countable things.
type Count struct {
	Name   string             `json:"name"`
	Sent   map[string]float64 `json:"commands_sent"`
	Script map[string]float64 `json:"commands_in_script"`
	// Allocs are allocations in the service, by who made them: the innermost
	// package of the stack that is not the language's own.
	Allocs map[string]float64 `json:"allocs"`
	// Places are the lines that allocate most.
	Places []Place `json:"places"`
}

// Place is a line that allocates.
type Place struct {
	Where  string  `json:"where"`
	Allocs float64 `json:"allocs"`
	Bytes  float64 `json:"bytes"`
}

// Scaling is how the cost of a prefetch changes along one axis.
type Scaling struct {
	Axis   string  `json:"axis"`
	Name   string  `json:"name"`
	Points []Point `json:"points"`
}

// Point is one value on an axis. Costs are the CPU time of all processes per
// prefetch.
type Point struct {
	Value     int     `json:"value"`
	PerSecond float64 `json:"prefetches_per_s"`
	CPU       float64 `json:"cpu_s_per_million"`
	VsFirst   float64 `json:"cpu_vs_first"`
	// VsFloor compares with the floor at the same value.
	VsFloor     float64 `json:"cpu_vs_floor,omitempty"`
	ServiceCPU  float64 `json:"service_cpu_s_per_million"`
	RedisCPU    float64 `json:"redis_cpu_s_per_million"`
	FollowerCPU float64 `json:"follower_cpu_s_per_million,omitempty"`
}

// Binary is what the service's binary needs by itself.
type Binary struct {
	StartMs    float64 `json:"start_to_first_answer_ms"`
	Resident   int64   `json:"idle_resident_bytes"`
	CPUPercent float64 `json:"idle_cpu_percent"`
}
