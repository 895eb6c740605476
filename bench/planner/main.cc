#include <cstdio>
#include <cmath>
#include <map>
#include "bench/planner/fit.h"
#include "bench/planner/published_model.h"
#include "base/strings.h"
using namespace choir; using namespace choir::planner;
int main(int argc,char**){
  auto data=LoadReferenceData(std::string(CHOIR_SOURCE_DIR)+"/bench/planner/reference_runs.jsonl");
  if(!data.ok()){std::fprintf(stderr,"%s\n",data.status().ToString().c_str());return 2;}
  std::map<std::string,Hardware> hw; std::vector<Sample> samples;
  std::map<std::string,int> reasons;
  for(auto&run:data->runs){
    if(!run.excluded.empty()){reasons[run.excluded]++;continue;}
    if(!hw.contains(run.machine)){auto h=LoadHardware(std::string(CHOIR_SOURCE_DIR)+"/configs/hardware/"+run.machine+".yaml"); if(!h.ok()){std::fprintf(stderr,"%s\n",h.status().ToString().c_str());return 2;} hw[run.machine]=*h;}
    Sample s=MakeSample(run,hw[run.machine]);
    samples.push_back(std::move(s));
  }
  double dev=0; for(auto&s:samples) dev=std::max(dev,std::fabs(PredictSeconds(s,UsualValues())/PredictSecondsInFull(s,UsualValues())-1)); std::printf("extrapolation %g\n",dev); for(auto&[r,n]:reasons)std::printf("excluded %d: %s\n",n,r.c_str());
  std::map<std::string,std::vector<const Sample*>> sys;
  for(auto&s:samples) sys[s.run->system].push_back(&s);
  auto u=UsualValues();
  for(auto&[name,v]:sys){ std::vector<const Sample*> fitrows; for(auto*s:v) if(s->run->split=="calibrate")fitrows.push_back(s);
    Values f=argc>1?u:Fit(fitrows);
    double e0=0,e2=0;
    for(auto*s:v){double p0=PredictSeconds(*s,u),p2=PredictSeconds(*s,f); e0+=std::fabs(p0/s->run->seconds-1);e2+=std::fabs(p2/s->run->seconds-1);
      std::printf("%-70s %s %10.4f %+6.1f %+6.1f\n",s->run->id.c_str(),s->run->split.substr(0,1).c_str(),s->run->seconds,100*(p0/s->run->seconds-1),100*(p2/s->run->seconds-1));}
    std::printf("== %s n=%zu L0 %.1f L2 %.1f |",name.c_str(),v.size(),100*e0/v.size(),100*e2/v.size());
    for(double x:f)std::printf(" %.3g",x);
    std::printf("\n");
  }
}
